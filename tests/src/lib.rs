//! The harness of the black-box tests: the real binary as a process, HTTP over real sockets.

pub mod canaries;
pub mod fixtures;
pub mod http;
pub mod seal;
pub mod server;

use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer than this, or the test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits for a condition.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
