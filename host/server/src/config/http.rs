//! Settings of connections and requests.

use super::units::{GIB, KIB, TIB, duration, duration_above_zero, numbers, sizes};
use bulkhead_http::{ByteSize, setting};
use clap::Args;
use std::time::Duration;

/// hyper buffers 512 KiB of a head. Headers and target below these sizes fit, so that a larger head is rejected
/// by the server, with a problem document.
const HEADERS_LIMIT_MAX: u64 = 256 * KIB;
const TARGET_LIMIT_MAX: u64 = 60 * KIB;

/// Limits on connections and requests.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub(crate) struct HttpSettings {
    /// Connections open at the same time; further ones wait to be accepted.
    #[arg(long, default_value_t = 1024, value_parser = numbers(1, 1_000_000_u32))]
    pub(crate) connections_max: u32,
    /// Octets of a request body; over it the answer is 413.
    #[arg(long, default_value = "32MiB", value_parser = sizes(1, GIB))]
    pub(crate) body_max: ByteSize,
    /// Octets of all request bodies held at the same time, at least --body-max; over it the answer
    /// is 503.
    #[arg(long, default_value = "256MiB", value_parser = sizes(1, TIB))]
    pub(crate) bodies_max: ByteSize,
    /// Time for a request body to arrive; over it the answer is 408.
    #[arg(long, default_value = "30s", value_parser = duration_above_zero)]
    pub(crate) body_timeout: Duration,
    /// Time for request headers to arrive, and for a connection to stay idle.
    #[arg(long, default_value = "15s", value_parser = duration_above_zero)]
    pub(crate) headers_timeout: Duration,
    /// Octets of a request's headers; over it the answer is 431.
    #[arg(long, default_value = "32KiB", value_parser = sizes(KIB, HEADERS_LIMIT_MAX))]
    pub(crate) headers_max: ByteSize,
    /// Octets of a request target; over it the answer is 414.
    #[arg(long, default_value = "8KiB", value_parser = sizes(KIB, TARGET_LIMIT_MAX))]
    pub(crate) target_max: ByteSize,
    /// Time for a client to take an answer; over it the connection is cut.
    #[arg(long, default_value = "60s", value_parser = duration_above_zero)]
    pub(crate) answer_timeout: Duration,
    /// Octets of all opened messages held until their clients have taken them; over it the answer
    /// is 503.
    #[arg(long, default_value = "256MiB", value_parser = sizes(1, TIB))]
    pub(crate) answers_max: ByteSize,
    /// Time between SIGTERM and the end of accepting, in which /readyz answers 503.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub(crate) drain_delay: Duration,
    /// Time for running requests to finish after that; a second signal cuts them.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,
}

impl HttpSettings {
    /// The part that `bulkhead-http` enforces.
    pub(crate) fn limits(&self) -> bulkhead_http::Settings {
        bulkhead_http::Settings {
            connections_max: self.connections_max,
            body_max: self.body_max,
            body_timeout: self.body_timeout,
            headers_timeout: self.headers_timeout,
            headers_max: self.headers_max,
            target_max: self.target_max,
            answer_timeout: self.answer_timeout,
            drain_delay: self.drain_delay,
            drain_timeout: self.drain_timeout,
        }
    }

    /// What is wrong with the settings together.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let (body, bodies) = (self.body_max, self.bodies_max);
        (bodies < body).then(|| {
            format!(
                "{} is {bodies}, less than {}, {body}: no body of that size would ever be taken",
                setting!(Self, bodies_max),
                setting!(Self, body_max)
            )
        })
    }
}
