//! Problems of requests to the signing relay.

use super::settings::SigningSettings;
use bulkhead_http::{ByteSize, Problem, setting};
use bulkhead_outbound::Refusal;
use bulkhead_relay::RelayError;
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};

/// A client should neither hammer nor forget.
const RETRY_SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// The value of `Retry-After`.
pub(super) fn retry_after(after_ms: u64) -> HeaderValue {
    let seconds = after_ms.div_ceil(1000);
    HeaderValue::from(seconds.clamp(*RETRY_SECONDS.start(), *RETRY_SECONDS.end()))
}

/// The errors of the relay.
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
        "This server has no signing API behind it. Operators set BULKHEAD_UPSTREAM_URL and \
         BULKHEAD_UPSTREAM_API_KEY and start it again.",
    )
}

fn store_unavailable() -> Problem {
    later(
        "store_unavailable",
        "Store unavailable",
        "The request could not be stored in time, so that nothing is promised. Send it again after \
         the time in Retry-After; to send it twice does no harm.",
        1000,
    )
}

fn backlog_full(after_ms: u64) -> Problem {
    later(
        "backlog_full",
        "Backlog full",
        format!(
            "So many messages wait to be signed that no more are taken. Try again after the time in \
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
            "So many callers wait for this message that no more are taken. Try again after the time in \
             Retry-After: it may be signed then. Operators raise {}.",
            setting!(SigningSettings, callers_max)
        ),
        after_ms,
    )
}

fn upstream_unavailable(after_ms: u64) -> Problem {
    later(
        "upstream_unavailable",
        "No answer from the signing API",
        "The signing API did not answer this in time, or allows no call now. Try again after the \
         time in Retry-After.",
        after_ms,
    )
}

/// `why` is the component's own text, without anything that was sent.
pub(super) fn upstream_refused(why: &str) -> Problem {
    unprocessable(
        "upstream_refused",
        "The signing API refuses the message",
        format!("This message will not be signed: {why}. Send another one."),
    )
}

pub(super) fn callback_refused(why: &Refusal) -> Problem {
    let advice = match why {
        Refusal::Localhost | Refusal::Address { .. } => format!(
            "Send one that is public; operators allow others with {}.",
            setting!(SigningSettings, callback_allow)
        ),
        _ => "Send an absolute one, like https://receiver.example/path.".to_owned(),
    };
    unprocessable(
        "callback_refused",
        "Callback refused",
        format!("The callback URL cannot be used: {why}. {advice}"),
    )
}

pub(super) fn message_too_large(message_max: ByteSize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "message_too_large",
        "Message too large",
        format!(
            "A message to be signed may have {} octets. Operators raise {}.",
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
        "There is no request with this id. It may be so old that it was removed. Check the id; the same \
         message can be sent again.",
    )
}

pub(super) fn no_notification() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "no_notification",
        "Nothing to deliver again",
        "This request has no notification yet, or none at all: it has no callback, or its result \
         was the answer.",
    )
}
