//! The interface of the service that handles requests.

use crate::listener::Address;
use crate::response::Response;
use crate::tls::{ClientCertificate, HandshakeFailure};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use std::net::SocketAddr;

/// The connection that a request arrived on.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The index of the group of listeners that accepted the connection.
    pub group: usize,
    /// The address of the listener that accepted the connection.
    pub listener: Address,
    /// The address of the client. `None` for Unix sockets.
    pub peer: Option<SocketAddr>,
    /// The verified certificate of the client, if it sent one.
    pub certificate: Option<ClientCertificate>,
}

/// A service that handles requests.
pub trait Service: Send + Sync + 'static {
    /// Handles one request of a connection. The future is dropped if the client closes the connection.
    fn call(
        &self,
        connection: &Connection,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response> + Send;

    /// Counts input that hyper could not parse as HTTP. hyper's response has this status and no body.
    fn count_unparsable(&self, status: StatusCode);

    /// Counts a connection that ended because its TLS handshake failed.
    fn count_handshake_failure(&self, why: HandshakeFailure);

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
