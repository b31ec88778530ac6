//! Problem documents (RFC 9457).

use crate::memory_budget::LimitExceeded;
use crate::response::{Response, json_response};
use crate::settings::Settings;
use bulkhead_envelope::{ByteSize, Problem as ProblemBody, setting};
use hyper::StatusCode;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY,
};

/// hyper's own limit on the number of headers. To set it, even to the same number, costs two allocations
/// of kilobytes for each request: hyper parses only its default on the stack.
const HEADER_COUNT_MAX: usize = 100;

/// The code of a problem that ends by itself, because others use what this request needs.
pub const OVERLOADED: &str = "overloaded";

/// An error with its two texts: the document for the caller, and the fault for the log.
#[derive(Debug)]
pub struct Problem {
    body: ProblemBody,
    header: Option<(HeaderName, HeaderValue)>,
    fault: Option<String>,
}

impl From<ProblemBody> for Problem {
    fn from(body: ProblemBody) -> Self {
        Self {
            body,
            header: None,
            fault: None,
        }
    }
}

impl From<LimitExceeded> for Problem {
    fn from(limit: LimitExceeded) -> Self {
        Self::overloaded(limit, 1)
    }
}

impl Problem {
    /// A problem without headers of its own. `code` is stable, for programs; `title` names the kind of
    /// problem; `detail` says what is wrong and what to do. None of them may quote the request.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        ProblemBody::new(status.as_u16(), code, title, detail).into()
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The problem's stable name, for programs.
    pub fn code(&self) -> &'static str {
        self.body.code
    }

    /// The text for the caller.
    pub fn detail(&self) -> &str {
        &self.body.detail
    }

    /// The text for the log, if the server is at fault.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The resource does not have this method.
    pub fn method_not_allowed(allow: &str) -> Self {
        let problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "Method not allowed",
            format!("This resource answers to: {allow}."),
        );
        problem.with_text_header(ALLOW, allow)
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

    /// The body has a content coding, such as gzip.
    pub(crate) fn unsupported_content_encoding() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Unsupported media type",
            "Send the body without compression, and without the header Content-Encoding.",
        )
        .with_text_header(ACCEPT_ENCODING, "identity")
    }

    /// The body is not declared as JSON.
    pub(crate) fn unsupported_media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Unsupported media type",
            "Send JSON, with the header Content-Type: application/json.",
        )
        .with_text_header(HeaderName::from_static("accept-post"), "application/json")
    }

    pub(crate) fn not_acceptable(offered: &str) -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "Not acceptable",
            format!("Ask for one of these in Accept, or leave it out: {offered}."),
        )
        .with_text_header(ACCEPT, offered)
    }

    pub(crate) fn target_too_long(target_max: ByteSize) -> Self {
        Self::new(
            StatusCode::URI_TOO_LONG,
            "target_too_long",
            "Request target too long",
            format!(
                "The request target may have {} octets. Operators raise {}.",
                target_max.bytes(),
                setting!(Settings, target_max)
            ),
        )
    }

    pub(crate) fn headers_too_large(headers_max: ByteSize) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            "Request headers too large",
            format!(
                "The request headers may have {} octets together (operators raise {}), and there may be \
                 {HEADER_COUNT_MAX} of them.",
                headers_max.bytes(),
                setting!(Settings, headers_max)
            ),
        )
    }

    /// A limit that all requests share is reached. It is worth trying again after `seconds`.
    pub fn overloaded(limit: LimitExceeded, seconds: u64) -> Self {
        let LimitExceeded { what, setting } = limit;
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            OVERLOADED,
            "Overloaded",
            format!(
                "The server has no room for more: {what}. Try again after the time in Retry-After. \
                 Operators raise {setting}."
            ),
        )
        .with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The server does not accept requests any more.
    pub fn draining() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "Shutting down",
            "This server is shutting down. Send the request to another one or try again.",
        )
        .with_header(RETRY_AFTER, HeaderValue::from(1))
    }

    /// The server is at fault. Only the log has the `fault`.
    pub fn internal(fault: impl Into<String>) -> Self {
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

    fn with_text_header(self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value);
        self.with_header(name, value.unwrap_or(HeaderValue::from_static("")))
    }

    /// The response, with the id under which the log has more.
    pub fn into_response(self, request_id: &str) -> Response {
        let mut document = self.body.document();
        document["request_id"] = request_id.into();
        let mut response = json_response(self.status(), &document);
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status() == StatusCode::NOT_ACCEPTABLE {
            headers.insert(VARY, HeaderValue::from_static("Accept"));
        }
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        response
    }
}
