//! The interface of the service that handles requests.

use crate::response::Response;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use std::net::IpAddr;

/// A service that handles requests.
pub trait Service: Send + Sync + 'static {
    /// Handles one request of a connection with `peer`. The future is dropped if the client closes the
    /// connection.
    fn call(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> impl Future<Output = Response> + Send;

    /// Counts input that hyper could not parse as HTTP. hyper's response has this status and no body.
    fn count_unparsable(&self, status: StatusCode);

    /// Returns the metric for open connections. [`serve`](crate::serve) updates it.
    fn open_connections(&self) -> &Gauge;

    /// Reports the server as not ready. It is called once, when the drain begins.
    fn begin_drain(&self);

    /// Waits for the end of work that continues after its request, such as webhooks. It is called while
    /// connections are still open, and again after the last one is closed. The future is dropped if the
    /// drain is cut short.
    fn finish(&self) -> impl Future<Output = ()> + Send;

    /// Handles a drain that is cut short. `is_finished` is true if [`Service::finish`] had returned.
    fn cut(&self, is_finished: bool);
}
