//! The harness of the black-box tests: the real binary as a process, HTTP over real sockets, and
//! mocks of what the signing relay talks to.

pub mod canaries;
pub mod description;
pub mod fixtures;
pub mod http;
pub mod mock;
pub mod postgres;
pub mod seal;
pub mod server;

use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer than this, or the test fails.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Whether this is a run with the large counts.
pub fn soak() -> bool {
    std::env::var_os("BULKHEAD_TEST_SOAK").is_some()
}

/// Waits for a condition.
#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(TIMEOUT, what, condition);
}

/// The same for what is known to take long.
#[track_caller]
pub fn until_within(timeout: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + timeout;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
