//! The problem document of the audit log.

use super::settings::AuditSettings;
use bulkhead_http::{Problem, problem_kinds, setting};
use hyper::header::{HeaderValue, RETRY_AFTER};

problem_kinds! {
    AUDIT_UNAVAILABLE = 503 "audit_unavailable" "Audit log unavailable" {
        meaning: "The request was handled, but the line of the audit log about it was not written in time. The server therefore \
                  withholds the response.",
        causes: "The disk of the audit log is full or slow, or the reader of standard output has stopped.",
        remedy: "Send the request again after the time in `Retry-After`. Operators read the state of the audit log in `/health`, and \
                 make space on its disk.",
    }
}

/// Returns the response to a request whose line was not written in time.
pub(super) fn unavailable() -> Problem {
    Problem::new(
        &AUDIT_UNAVAILABLE,
        format!(
            "The audit log could not be written in time, so that the response is withheld. Try again after the time in \
             Retry-After. Operators make space for the file of {}.",
            setting!(AuditSettings, audit_log)
        ),
    )
    .with_header(RETRY_AFTER, HeaderValue::from(1))
}
