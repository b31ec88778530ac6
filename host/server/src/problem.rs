//! Problem documents (RFC 9457): the one place that turns errors into answers.

mod signing;

pub(crate) use signing::retry_after;

use crate::config::DecryptSettings;
use crate::http::{Answer, REQUEST_ID, json_answer};
use crate::server::HEADERS_MAX;
use bulkhead_envelope::Problem as Said;
use bulkhead_sandbox::{Fault, OpenError};
use hyper::StatusCode;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY};

/// An error as the caller sees it, and what belongs to it beside the document.
#[derive(Debug)]
pub(crate) struct Problem {
    said: Said,
    header: Option<(HeaderName, HeaderValue)>,
    /// What went wrong on our side, for the log alone.
    fault: Option<String>,
}

impl From<Said> for Problem {
    fn from(said: Said) -> Self {
        Self {
            said,
            header: None,
            fault: None,
        }
    }
}

/// A limit on what all clients may use together, by the names operators know it by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limited {
    pub(crate) what: &'static str,
    pub(crate) flag: &'static str,
    pub(crate) variable: &'static str,
}

const OVERLOADED: &str = "overloaded";

const KEYS: Limited = Limited {
    what: "too much key derivation waits",
    flag: "--kdf-queue-max",
    variable: "BULKHEAD_KDF_QUEUE_MAX",
};

impl Problem {
    fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Said::new(status.as_u16(), code, title, detail).into()
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    pub(crate) fn code(&self) -> &'static str {
        self.said.code
    }

    /// What an operator should know, where the problem is our fault.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "No such resource",
            "There is nothing at this path. POST /decryptMessage opens a message, POST /token makes a \
             token, GET /crypto/sign has a message signed.",
        )
    }

    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "Method not allowed",
            format!("This resource answers to: {allow}."),
        )
        .with_header(ALLOW, HeaderValue::from_static(allow))
    }

    pub(crate) fn not_one_host() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed_request",
            "Malformed request",
            "Send exactly one Host header: HTTP/1.1 requires it.",
        )
    }

    pub(crate) fn unknown_transfer_coding() -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "unknown_transfer_coding",
            "Unknown transfer coding",
            "Send the body with a Content-Length, or with Transfer-Encoding: chunked alone.",
        )
    }

    pub(crate) fn malformed_request() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed_request",
            "Malformed request",
            "What was sent is not a request of HTTP/1.0 or HTTP/1.1. Check that the client speaks plain HTTP, and \
             what stands between it and this server.",
        )
    }

    pub(crate) fn unsupported_media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Unsupported media type",
            "Send JSON, with the header Content-Type: application/json.",
        )
        .with_header(
            HeaderName::from_static("accept-post"),
            HeaderValue::from_static("application/json"),
        )
    }

    pub(crate) fn not_acceptable(offered: &'static str) -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "Not acceptable",
            format!("Ask for one of these in Accept, or leave it out: {offered}."),
        )
        .with_header(ACCEPT, HeaderValue::from_static(offered))
    }

    pub(crate) fn body_too_large(limit_octets: usize) -> Self {
        Said::body_too_large(limit_octets as u64).into()
    }

    pub(crate) fn body_too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "Body did not arrive in time",
            "Send the whole request body without pauses. Operators raise --body-timeout \
             (BULKHEAD_BODY_TIMEOUT).",
        )
    }

    pub(crate) fn body_broken() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "body_incomplete",
            "Body broken off",
            "The request body ended early or is not framed as its headers say. Send it whole, with the right \
             Content-Length or as complete chunks.",
        )
    }

    pub(crate) fn target_too_long(limit_octets: usize) -> Self {
        Self::new(
            StatusCode::URI_TOO_LONG,
            "target_too_long",
            "Request target too long",
            format!(
                "The request target may have {limit_octets} octets. Operators raise --target-max \
                 (BULKHEAD_TARGET_MAX)."
            ),
        )
    }

    pub(crate) fn headers_too_large(limit_octets: usize) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            "Request headers too large",
            format!(
                "The request headers may have {limit_octets} octets together (operators raise \
                 --headers-max, BULKHEAD_HEADERS_MAX), and there may be {HEADERS_MAX} of them."
            ),
        )
    }

    /// The header that carries the token to be checked.
    pub(crate) fn token_header(what: &str) -> Self {
        let detail = format!(
            "The header Bulkhead-Token {what}. Send the token there, and as body what it was made of."
        );
        Said::new(400, "invalid_parameter", "Invalid parameter", detail)
            .with_parameter("Bulkhead-Token")
            .into()
    }

    pub(crate) fn token_not_configured() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_configured",
            "Not configured",
            "This server has no shared secret. Operators set SECRET or SECRET_FILE and start it again.",
        )
    }

    pub(crate) fn not_text() -> Self {
        Said::not_text("Ask for the octets with the header Accept: application/octet-stream.")
            .into()
    }

    /// Busy: come back in `seconds`.
    pub(crate) fn overloaded(limit: Limited, seconds: u64) -> Self {
        let Limited {
            what,
            flag,
            variable,
        } = limit;
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            OVERLOADED,
            "Overloaded",
            format!(
                "The server has no room for more: {what}. Try again after the time in Retry-After. \
                 Operators raise {flag} ({variable})."
            ),
        )
        .with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(crate) fn is_overload(&self) -> bool {
        self.said.code == OVERLOADED
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.said.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn detail(&self) -> &str {
        &self.said.detail
    }

    pub(crate) fn draining() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "Shutting down",
            "This server is shutting down. Send the request to another one or try again.",
        )
        .with_header(RETRY_AFTER, HeaderValue::from(1))
    }

    /// Our fault; `fault` says which, in the log.
    pub(crate) fn internal(fault: impl Into<String>) -> Self {
        let mut problem = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
            "The request could not be handled; it is our fault. The log has more under the \
             request_id.",
        );
        problem.fault = Some(fault.into());
        problem
    }

    /// The refusals of the decrypt component. Where keys have to wait, there is room for them after
    /// `retry_after` seconds.
    pub(crate) fn from_open(
        error: OpenError,
        settings: &DecryptSettings,
        retry_after: u64,
    ) -> Self {
        let said = match error {
            OpenError::NotOpenpgp => Said::not_openpgp(),
            OpenError::Unsupported(why) => Said::unsupported_message(&why),
            OpenError::Undecryptable => Said::undecryptable(),
            OpenError::TooCostly(excess) => Said::over_limit(excess),
            OpenError::Fault(Fault::Deadline | Fault::Cancelled) => Said::too_costly(format!(
                "The time for one message is over: {} s. Operators raise --decrypt-timeout \
                 (BULKHEAD_DECRYPT_TIMEOUT).",
                settings.timeout.as_secs_f64()
            )),
            OpenError::Fault(Fault::Memory) => Said::too_costly(format!(
                "The memory for one message is used up: {} octets. Operators raise \
                 --guest-memory-max (BULKHEAD_GUEST_MEMORY_MAX).",
                settings.guest_memory_octets
            )),
            OpenError::Fault(Fault::KeysOverloaded) => return Self::overloaded(KEYS, retry_after),
            OpenError::Fault(Fault::Trap(trap)) => {
                return Self::internal(format!("the decrypt component trapped: {trap}"));
            }
        };
        said.into()
    }

    /// The answer, with the id that leads to the log.
    pub(crate) fn into_answer(self, request_id: &str) -> Answer {
        let mut answer = json_answer(self.status(), &self.document(request_id));
        let headers = answer.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.said.status == StatusCode::NOT_ACCEPTABLE {
            headers.insert(VARY, HeaderValue::from_static("Accept"));
        }
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        answer
    }

    /// The answer as it goes over the wire, for where hyper makes none; the last of a connection.
    pub(crate) fn into_octets(self, request_id: &str) -> Vec<u8> {
        let body = self.document(request_id).to_string() + "\n";
        format!(
            "HTTP/1.1 {}\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n\
             {REQUEST_ID}: {request_id}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.status(),
            body.len(),
        )
        .into_bytes()
    }

    fn document(&self, request_id: &str) -> serde_json::Value {
        let mut document = self.said.document();
        document["request_id"] = request_id.into();
        document
    }
}

fn unprocessable(code: &'static str, title: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, title, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn every_fault_of_an_instance_is_an_answer() {
        let settings = crate::config::Cli::parse_from(["bulkhead"])
            .settings
            .decrypt;
        for (fault, status, code) in [
            (Fault::Deadline, 422, "too_costly"),
            (Fault::Cancelled, 422, "too_costly"),
            (Fault::Memory, 422, "too_costly"),
            (Fault::KeysOverloaded, 503, "overloaded"),
            (Fault::Trap("unreachable".into()), 500, "internal"),
        ] {
            let problem = Problem::from_open(OpenError::Fault(fault), &settings, 1);
            assert_eq!((problem.said.status, problem.code()), (status, code));
            // What trapped is for the log, not for the caller.
            assert_eq!(problem.fault().is_some(), status == 500);
            assert!(!problem.detail().contains("unreachable"));
        }
    }

    /// Refusals name flags, and offline the defaults come from there too.
    #[test]
    fn limits_are_called_as_the_flags_are_and_have_their_defaults() {
        use bulkhead_envelope::Limit;
        use clap::CommandFactory as _;
        let command = crate::config::Cli::command();
        for limit in Limit::ALL {
            let argument = command
                .get_arguments()
                .find(|argument| argument.get_long() == limit.flag().strip_prefix("--"))
                .unwrap_or_else(|| panic!("{limit:?} has no flag"));
            let variable = argument.get_env().and_then(std::ffi::OsStr::to_str);
            assert_eq!(variable, Some(limit.variable()));
            let default = argument.get_default_values().first();
            assert_eq!(
                default.and_then(|text| text.to_str()),
                Some(limit.default())
            );
        }
    }
}
