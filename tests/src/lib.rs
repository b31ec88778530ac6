//! The harness of the black-box tests: the real binary as a process, an HTTP client, and mocks of
//! the services that the signing relay calls. See `tests/README.md`.

#![expect(
    clippy::missing_panics_doc,
    reason = "a function of the harness panics if a check fails"
)]

pub mod canaries;
pub mod description;
pub mod fixtures;
pub mod http;
pub mod mock;
pub mod postgres;
pub mod seal;
pub mod server;
pub mod tls;

use std::time::{Duration, Instant};

/// The maximum time to wait for a condition.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Returns whether this is a soak run, which uses larger counts.
pub fn soak() -> bool {
    std::env::var_os("BULKHEAD_TEST_SOAK").is_some()
}

/// Waits for a condition. Panics if it does not hold within a minute.
#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(TIMEOUT, what, condition);
}

/// Waits for a condition that may take longer. Panics after `timeout`.
#[track_caller]
pub fn until_within(timeout: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + timeout;
    while !condition() {
        assert!(Instant::now() < end, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
