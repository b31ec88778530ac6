//! Limits on connections and requests.

use bulkhead_envelope::ByteSize;
use std::time::Duration;

/// Limits on connections and requests. The names are those of the server's flags, so that a problem
/// document can say which flag to raise.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Maximum number of open connections. Further connections wait to be accepted.
    pub connections_max: u32,
    /// Maximum size of a request body.
    pub body_max: ByteSize,
    /// Maximum time for a request body to arrive.
    pub body_timeout: Duration,
    /// Maximum time for request headers to arrive, from their first byte. For the first request of a
    /// connection it counts from the start of the connection.
    pub headers_timeout: Duration,
    /// Maximum time between a response and the first byte of the next request.
    pub idle_timeout: Duration,
    /// Maximum size of all headers of a request.
    pub headers_max: ByteSize,
    /// Maximum size of a request target.
    pub target_max: ByteSize,
    /// Maximum time for a client to take a response.
    pub answer_timeout: Duration,
    /// Time between the first signal and the end of accepting.
    pub drain_delay: Duration,
    /// Maximum time for running requests to finish after that.
    pub drain_timeout: Duration,
}
