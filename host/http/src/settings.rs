//! Limits on connections and requests.

use bulkhead_envelope::ByteSize;
use std::time::Duration;

/// Limits on connections and requests. Each field has the name of its flag, so that a problem document can
/// name the flag to raise.
#[derive(Debug, Clone)]
pub struct Settings {
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
    /// Maximum time for a client to receive a response.
    pub response_timeout: Duration,
    /// Time after the first signal in which the server still accepts connections.
    pub drain_delay: Duration,
    /// Maximum time after `drain_delay` for requests to finish.
    pub drain_timeout: Duration,
}
