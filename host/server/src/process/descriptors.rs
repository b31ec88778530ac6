//! The limit on open file descriptors. Each connection uses one.

use crate::config::http::HttpSettings;
use bulkhead_http::setting;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Number of descriptors for other purposes than connections: log, listener, event queues and secret files.
const SPARE: u64 = 64;

/// Raises the soft limit to the hard limit, and logs a warning if that is too low for `connections_max`.
/// The usual soft limit of 1024 is meant for programs that use select(2).
pub(crate) fn raise_limit(connections_max: u32) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let needed = u64::from(connections_max) + SPARE;
    // `None` means unlimited.
    if limit.is_some_and(|limit| limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "too few file descriptors for {}; raise the limit (ulimit -n) or lower the flag",
            setting!(HttpSettings, connections_max)
        );
    }
}
