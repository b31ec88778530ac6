//! Problem documents of the signing relay.

use super::settings::SigningSettings;
use bulkhead_http::{ByteSize, Problem, setting};
use bulkhead_outbound::Refusal;
use bulkhead_relay::RelayError;
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};

/// The bounds of `Retry-After`, in seconds: a client should neither retry all the time nor wait for hours.
const RETRY_SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// Returns the value of `Retry-After`, rounded up to seconds and within [`RETRY_SECONDS`].
pub(super) fn retry_after(after_ms: u64) -> HeaderValue {
    let seconds = after_ms.div_ceil(1000);
    HeaderValue::from(seconds.clamp(*RETRY_SECONDS.start(), *RETRY_SECONDS.end()))
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

fn unprocessable(code: &'static str, title: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, title, detail)
}

fn later(
    code: &'static str,
    title: &'static str,
    detail: impl Into<String>,
    after_ms: u64,
) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, title, detail)
        .with_header(RETRY_AFTER, retry_after(after_ms))
}

pub(super) fn not_configured() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not_configured",
        "Not configured",
        "No signing API is configured on this server. Operators set BULKHEAD_UPSTREAM_URL and \
         BULKHEAD_UPSTREAM_API_KEY, and restart the server.",
    )
}

fn store_unavailable() -> Problem {
    later(
        "store_unavailable",
        "Store unavailable",
        "The store did not respond in time. The request may have been stored or not. Send it again \
         after the time in Retry-After. Sending it twice is safe.",
        1000,
    )
}

fn backlog_full(after_ms: u64) -> Problem {
    later(
        "backlog_full",
        "Backlog full",
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
        "backlog_full",
        "Backlog full",
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
        "upstream_unavailable",
        "No response from the signing API",
        "The signing API did not respond in time, or allows no call now. Try again after the time \
         in Retry-After.",
        after_ms,
    )
}

/// `why` is a text of the component. It quotes nothing that the client sent.
pub(super) fn upstream_refused(why: &str) -> Problem {
    unprocessable(
        "upstream_refused",
        "The signing API rejects the message",
        format!("This message will not be signed: {why}. Send another message."),
    )
}

pub(super) fn callback_refused(why: &Refusal) -> Problem {
    let advice = match why {
        Refusal::Localhost | Refusal::Address { .. } => format!(
            "Send a URL with a public address. Operators allow other addresses with {}.",
            setting!(SigningSettings, callback_allow)
        ),
        _ => "Send an absolute URL, such as https://receiver.example/path.".to_owned(),
    };
    unprocessable(
        "callback_refused",
        "Callback rejected",
        format!("The callback URL cannot be used: {why}. {advice}"),
    )
}

pub(super) fn message_too_large(message_max: ByteSize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "message_too_large",
        "Message too large",
        format!(
            "A message to sign has at most {} bytes. Send a shorter message. Operators raise {}.",
            message_max.bytes(),
            setting!(SigningSettings, message_max)
        ),
    )
}

pub(super) fn no_such_request() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "No such request",
        "There is no request with this id. It may have been removed after the retention time. Check the \
         id, or send the message again.",
    )
}

pub(super) fn redelivery_too_soon(after_ms: u64) -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "redelivery_too_soon",
        "Redelivery too soon",
        "The notification of this request became due or was attempted less than a second ago. See the \
         status URL of the request, and try again after the time in Retry-After.",
    )
    .with_header(RETRY_AFTER, retry_after(after_ms))
}

pub(super) fn no_notification() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "no_notification",
        "Nothing to deliver again",
        "This request has no callback, its response contained the result, or its notification does \
         not exist yet. See the status URL of the request.",
    )
}
