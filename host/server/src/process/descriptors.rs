//! The limit on open descriptors, of which each connection takes one.

use crate::config::http::HttpSettings;
use bulkhead_http::setting;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For all but connections: log, listener, event queues, secret files.
const SPARE: u64 = 64;

/// Takes what the system allows. The usual soft limit of 1024 is for programs that use select(2).
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
    // None is no limit.
    if limit.is_some_and(|limit| limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "fewer descriptors than {} needs: raise the limit (ulimit -n) or lower the flag",
            setting!(HttpSettings, connections_max)
        );
    }
}
