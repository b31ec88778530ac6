//! What can be wrong with a request to the signing relay.

use super::{Problem, unprocessable};
use bulkhead_outbound::Refusal;
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};

/// A client should neither hammer nor forget.
const RETRY_SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// The value of `Retry-After`.
pub(crate) fn retry_after(after_ms: u64) -> HeaderValue {
    let seconds = after_ms.div_ceil(1000);
    HeaderValue::from(seconds.clamp(*RETRY_SECONDS.start(), *RETRY_SECONDS.end()))
}

impl Problem {
    fn later(code: &'static str, title: &'static str, detail: &str, after_ms: u64) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, title, detail)
            .with_header(RETRY_AFTER, retry_after(after_ms))
    }

    pub(crate) fn signing_not_configured() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_configured",
            "Not configured",
            "This server has no signing API behind it. Operators set BULKHEAD_UPSTREAM_URL and \
             BULKHEAD_UPSTREAM_API_KEY and start it again.",
        )
    }

    pub(crate) fn store_unavailable() -> Self {
        Self::later(
            "store_unavailable",
            "Store unavailable",
            "The request could not be stored in time, so that nothing is promised. Send it again after \
             the time in Retry-After; to send it twice does no harm.",
            1000,
        )
    }

    pub(crate) fn backlog_full(after_ms: u64) -> Self {
        Self::later(
            "backlog_full",
            "Backlog full",
            "So many messages wait to be signed that no more are taken. Try again after the time in \
             Retry-After. Operators raise --backlog-max (BULKHEAD_BACKLOG_MAX).",
            after_ms,
        )
    }

    pub(crate) fn callers_full(after_ms: u64) -> Self {
        Self::later(
            "backlog_full",
            "Backlog full",
            "So many callers wait for this message that no more are taken. Try again after the time in \
             Retry-After: it may be signed then. Operators raise --callers-max (BULKHEAD_CALLERS_MAX).",
            after_ms,
        )
    }

    pub(crate) fn upstream_unavailable(after_ms: u64) -> Self {
        Self::later(
            "upstream_unavailable",
            "No answer from the signing API",
            "The signing API did not answer this in time, or allows no call now. Try again after the \
             time in Retry-After.",
            after_ms,
        )
    }

    /// `why` is the component's own text, without anything that was sent.
    pub(crate) fn upstream_refused(why: &str) -> Self {
        unprocessable(
            "upstream_refused",
            "The signing API refuses the message",
            format!("This message will not be signed: {why}. Send another one."),
        )
    }

    pub(crate) fn callback_refused(why: &Refusal) -> Self {
        let advice = match why {
            Refusal::Localhost | Refusal::Address { .. } => {
                "Send one that is public; operators allow others with --callback-allow \
                 (BULKHEAD_CALLBACK_ALLOW)."
            }
            _ => "Send an absolute one, like https://receiver.example/path.",
        };
        unprocessable(
            "callback_refused",
            "Callback refused",
            format!("The callback URL cannot be used: {why}. {advice}"),
        )
    }

    pub(crate) fn message_too_large(limit_octets: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "message_too_large",
            "Message too large",
            format!(
                "A message to be signed may have {limit_octets} octets. Operators raise \
                 --message-max (BULKHEAD_MESSAGE_MAX)."
            ),
        )
    }

    pub(crate) fn no_such_request() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "No such request",
            "There is no request with this id. It may be so old that it was removed. Check the id; the same \
             message can be sent again.",
        )
    }

    pub(crate) fn no_notification() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "no_notification",
            "Nothing to deliver again",
            "This request has no notification yet, or none at all: it has no callback, or its result \
             was the answer.",
        )
    }
}
