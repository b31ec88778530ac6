//! Settings of connections and requests.

use super::units::{GIB, KIB, TIB, duration, duration_above_zero, numbers, sizes};
use bulkhead_http::{ByteSize, setting};
use clap::Args;
use std::time::Duration;

/// hyper buffers 512 KiB of a request head. Headers and a target below these sizes fit into it. The server
/// therefore sees a head that exceeds the settings, and rejects it with a problem document.
const HEADERS_LIMIT_MAX: u64 = 256 * KIB;
const TARGET_LIMIT_MAX: u64 = 60 * KIB;

/// Limits on connections and requests.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub(crate) struct HttpSettings {
    /// Maximum number of open connections. Further connections wait to be accepted.
    #[arg(long, default_value_t = 1024, value_parser = numbers(1, 1_000_000_u32))]
    pub(crate) connections_max: u32,
    /// Maximum size of one request body. A larger body is rejected with 413.
    #[arg(long, default_value = "32MiB", value_parser = sizes(1, GIB))]
    pub(crate) body_max: ByteSize,
    /// Maximum size of all request bodies in memory together; at least --body-max. If it is exceeded, the
    /// response is 503.
    #[arg(long, default_value = "256MiB", value_parser = sizes(1, TIB))]
    pub(crate) bodies_max: ByteSize,
    /// Time for a request body to arrive. If it is exceeded, the response is 408.
    #[arg(long, default_value = "30s", value_parser = duration_above_zero)]
    pub(crate) body_timeout: Duration,
    /// Time from the first byte of the request headers to the last. For the first request of a connection, it
    /// starts when the connection opens. If it is exceeded, the connection is closed.
    #[arg(long, default_value = "15s", value_parser = duration_above_zero)]
    pub(crate) headers_timeout: Duration,
    /// Time between a response and the next request on the same connection. If it is exceeded, the connection
    /// is closed. Choose more than the idle time of the load balancer, which is often 60s: otherwise some of
    /// its requests meet a closed connection, and it responds 502.
    #[arg(long, default_value = "75s", value_parser = duration_above_zero)]
    pub(crate) idle_timeout: Duration,
    /// Maximum size of the headers of one request. Larger headers are rejected with 431.
    #[arg(long, default_value = "32KiB", value_parser = sizes(KIB, HEADERS_LIMIT_MAX))]
    pub(crate) headers_max: ByteSize,
    /// Maximum size of the request target. A longer target is rejected with 414.
    #[arg(long, default_value = "8KiB", value_parser = sizes(KIB, TARGET_LIMIT_MAX))]
    pub(crate) target_max: ByteSize,
    /// Time for a client to receive a response. If it is exceeded, the connection is closed.
    #[arg(long, default_value = "60s", value_parser = duration_above_zero)]
    pub(crate) response_timeout: Duration,
    /// Maximum size of all decrypted messages in memory that have not been sent completely. If it is
    /// exceeded, the response is 503.
    #[arg(long, default_value = "256MiB", value_parser = sizes(1, TIB))]
    pub(crate) responses_max: ByteSize,
    /// Time from SIGTERM or SIGINT until the listener closes. /readyz returns 503 meanwhile.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub(crate) drain_delay: Duration,
    /// Time for running work to finish after --drain-delay. A second signal aborts the work. The exit
    /// status is 1 if something was aborted.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,
}

impl HttpSettings {
    /// Returns the settings that `bulkhead-http` enforces.
    pub(crate) fn limits(&self) -> bulkhead_http::Settings {
        bulkhead_http::Settings {
            body_max: self.body_max,
            body_timeout: self.body_timeout,
            headers_timeout: self.headers_timeout,
            idle_timeout: self.idle_timeout,
            headers_max: self.headers_max,
            target_max: self.target_max,
            response_timeout: self.response_timeout,
            drain_delay: self.drain_delay,
            drain_timeout: self.drain_timeout,
        }
    }

    /// Returns an error text if the settings contradict each other.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let (body, bodies) = (self.body_max, self.bodies_max);
        (bodies < body).then(|| {
            format!(
                "{} is {bodies}, which is less than {} ({body}), so that a body of the maximum size would never \
                 fit. Raise the first or lower the second",
                setting!(Self, bodies_max),
                setting!(Self, body_max)
            )
        })
    }
}
