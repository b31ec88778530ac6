//! Problem documents of the signing relay.

use super::settings::SigningSettings;
use crate::access::AccessSettings;
use bulkhead_http::{ByteSize, Problem, ProblemKind, problem_kind, problem_kinds, setting};
use bulkhead_outbound::TargetError;
use bulkhead_relay::RelayError;
use hyper::header::{HeaderValue, RETRY_AFTER};

/// The bounds of `Retry-After`, in seconds: a client should neither retry all the time nor wait for hours.
const RETRY_SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// Returns the value of `Retry-After`, rounded up to seconds and within [`RETRY_SECONDS`].
pub(super) fn retry_after(after_ms: u64) -> HeaderValue {
    let seconds = after_ms.div_ceil(1000);
    HeaderValue::from(seconds.clamp(*RETRY_SECONDS.start(), *RETRY_SECONDS.end()))
}

problem_kinds! {
    ACCESS_KEYS_REQUIRED = 403 "access_keys_required" "List not available" {
        meaning: "A server without access keys lists signing requests only on a loopback address or a Unix socket.",
        causes: "The server does not know its callers, so that a list would show the requests of all of them to everyone.",
        remedy: "Read a request at its status URL. Operators give the server access keys, or use a listener that other machines \
                 cannot reach.",
    }
    NO_NOTIFICATION = 409 "no_notification" "Nothing to deliver again" {
        meaning: "The request has no notification that could be delivered again.",
        causes: "The request has no callback, its first response contained the result, or its result does not exist yet.",
        remedy: "Read the state of the request at its status URL.",
    }
    MESSAGE_TOO_LARGE = 413 "message_too_large" "Message too large" {
        meaning: "The message to sign is larger than the server accepts.",
        causes: "The message exceeds the limit that `detail` names.",
        remedy: "Send a shorter message, for example a hash of the data. Operators raise the limit with the setting that \
                 `detail` names.",
    }
    CALLBACK_REJECTED = 422 "callback_rejected" "Callback rejected" {
        meaning: "The server does not call this callback URL.",
        causes: "The URL is not an absolute HTTP URL, or its address is not public.",
        remedy: "Send an absolute URL with a public address. Operators allow other addresses with the setting that `detail` \
                 names.",
    }
    UPSTREAM_REJECTED = 422 "upstream_rejected" "The signing API rejects the message" {
        meaning: "The signing API rejects this message, and will reject it each time.",
        causes: "The message is empty, too large, or malformed for the signing API. `detail` contains the reason.",
        remedy: "Send another message.",
    }
    REDELIVERY_TOO_SOON = 429 "redelivery_too_soon" "Redelivery too soon" {
        meaning: "The notification of this request became due or was attempted less than a second ago.",
        causes: "The same request was redelivered several times in a row.",
        remedy: "Read the state of the request at its status URL, and redeliver it after the time in `Retry-After` if that is \
                 still necessary.",
    }
    STORE_UNAVAILABLE = 503 "store_unavailable" "Store unavailable" {
        meaning: "The store did not confirm in time that the request is stored.",
        causes: "The database is down, overloaded or out of disk space.",
        remedy: "Send the request again after the time in `Retry-After`. Sending it twice is safe. Operators read the state of \
                 the store in `/health`.",
    }
    BACKLOG_FULL = 503 "backlog_full" "Backlog full" {
        meaning: "The maximum number of messages wait for a signature, or the maximum number of callers wait for this one.",
        causes: "Messages arrive faster than the quota of the signing API allows, or the signing API fails.",
        remedy: "Send the request again after the time in `Retry-After`. Operators raise the limit with the setting that \
                 `detail` names.",
    }
    UPSTREAM_UNAVAILABLE = 503 "upstream_unavailable" "No response from the signing API" {
        meaning: "The signing API could not be called in time.",
        causes: "The signing API fails, or its quota is used up.",
        remedy: "Send the request again after the time in `Retry-After`.",
    }
}

/// Returns the problem document for an error of the relay.
pub(super) fn problem(error: &RelayError) -> Problem {
    match error {
        RelayError::BacklogFull { after_ms } => backlog_full(*after_ms),
        RelayError::CallersFull { after_ms } => callers_full(*after_ms),
        RelayError::Store(_) => store_unavailable(),
        RelayError::Upstream { after_ms } => upstream_unavailable(*after_ms),
    }
}

fn later(kind: &'static ProblemKind, detail: impl Into<String>, after_ms: u64) -> Problem {
    Problem::new(kind, detail).with_header(RETRY_AFTER, retry_after(after_ms))
}

pub(super) fn not_configured() -> Problem {
    Problem::new(
        &problem_kind::NOT_CONFIGURED,
        "No signing API is configured on this server. Operators set BULKHEAD_UPSTREAM_URL and \
         BULKHEAD_UPSTREAM_API_KEY, and restart the server.",
    )
}

fn store_unavailable() -> Problem {
    later(
        &STORE_UNAVAILABLE,
        "The store is not available: it is down, overloaded or out of space, or its file was removed. \
         The request may be stored or not. Send it again after the time in Retry-After. Sending it twice is safe.",
        1000,
    )
}

fn backlog_full(after_ms: u64) -> Problem {
    later(
        &BACKLOG_FULL,
        format!(
            "The maximum number of messages wait for a signature. Try again after the time in \
             Retry-After. Operators raise {}.",
            setting!(SigningSettings, backlog_max)
        ),
        after_ms,
    )
}

fn callers_full(after_ms: u64) -> Problem {
    later(
        &BACKLOG_FULL,
        format!(
            "The maximum number of requests wait for this message. Try again after the time in \
             Retry-After, because it may be signed then. Operators raise {}.",
            setting!(SigningSettings, callers_max)
        ),
        after_ms,
    )
}

fn upstream_unavailable(after_ms: u64) -> Problem {
    later(
        &UPSTREAM_UNAVAILABLE,
        "The signing API did not respond in time, or allows no call now. Try again after the time \
         in Retry-After.",
        after_ms,
    )
}

/// `why` is a text of the component. It quotes nothing that the client sent.
pub(super) fn upstream_rejected(why: &str) -> Problem {
    Problem::new(
        &UPSTREAM_REJECTED,
        format!("This message will not be signed: {why}. Send another message."),
    )
}

pub(super) fn callback_rejected(why: &TargetError) -> Problem {
    let advice = match why {
        TargetError::Localhost | TargetError::Address { .. } => format!(
            "Send a URL with a public address. Operators allow other addresses with {}.",
            setting!(SigningSettings, callback_allow)
        ),
        _ => "Send an absolute URL, such as https://receiver.example/path.".to_owned(),
    };
    Problem::new(
        &CALLBACK_REJECTED,
        format!("The callback URL cannot be used: {why}. {advice}"),
    )
}

pub(super) fn message_too_large(message_max: ByteSize) -> Problem {
    Problem::new(
        &MESSAGE_TOO_LARGE,
        format!(
            "A message to sign has at most {} bytes. Send a shorter message. Operators raise {}.",
            message_max.bytes(),
            setting!(SigningSettings, message_max)
        ),
    )
}

/// Returns the response to a request for the list from another machine, if the server has no access keys.
pub(super) fn access_keys_required() -> Problem {
    Problem::new(
        &ACCESS_KEYS_REQUIRED,
        format!(
            "This server has no access keys, and lists requests only on a loopback address or a Unix socket. Read a \
             request at its status URL. Operators give the server access keys with {}.",
            setting!(AccessSettings, access_keys)
        ),
    )
}

pub(super) fn no_such_request() -> Problem {
    Problem::new(
        &problem_kind::NOT_FOUND,
        "There is no request with this id. It may have been removed after the retention time. Check the \
         id, or send the message again.",
    )
}

pub(super) fn redelivery_too_soon(after_ms: u64) -> Problem {
    later(
        &REDELIVERY_TOO_SOON,
        "The notification of this request became due or was attempted less than a second ago. See the \
         status URL of the request, and try again after the time in Retry-After.",
        after_ms,
    )
}

pub(super) fn no_notification() -> Problem {
    Problem::new(
        &NO_NOTIFICATION,
        "This request has no callback, its response contained the result, or its notification does \
         not exist yet. See the status URL of the request.",
    )
}
