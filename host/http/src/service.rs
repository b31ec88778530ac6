//! What connections are served for.

use crate::response::Response;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use std::net::IpAddr;

/// The server's side of requests.
pub trait Service: Send + Sync + 'static {
    /// Handles one request of a connection with `peer`. The future is dropped if the client closes the
    /// connection.
    fn call(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> impl Future<Output = Response> + Send;

    /// Counts input that hyper could not parse as HTTP and answered with this bare status.
    fn count_unparsable(&self, status: StatusCode);

    /// The number of open connections. [`serve`](crate::serve) keeps it up to date.
    fn open_connections(&self) -> &Gauge;

    /// Called once when the drain begins: from now on the server is not ready.
    fn begin_drain(&self);

    /// Waits until work has ended that outlasts its requests. It is called while connections are still
    /// open and once more after the last one.
    fn finish(&self) -> impl Future<Output = ()> + Send;

    /// Called when the drain is cut short, with whether [`Service::finish`] had returned.
    fn cut(&self, is_finished: bool);
}
