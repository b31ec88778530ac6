//! Problem documents (RFC 9457).

use crate::memory_budget::LimitExceeded;
use crate::problem_kind;
use crate::response::{Response, json_response};
use crate::settings::Settings;
use bulkhead_envelope::{ByteSize, Problem as ProblemBody, ProblemKind, setting};
use hyper::StatusCode;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY,
};

/// hyper's default limit on the number of headers. Do not set it, even to the same number: hyper then
/// allocates several kilobytes twice per request, whereas it parses with the default on the stack.
const HEADER_COUNT_MAX: usize = 100;

/// An error with two texts: the document for the caller, and the fault for the log.
#[derive(Debug)]
pub struct Problem {
    body: ProblemBody,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// A further member of the document.
    member: Option<(&'static str, &'static str)>,
    fault: Option<String>,
}

impl From<ProblemBody> for Problem {
    fn from(body: ProblemBody) -> Self {
        Self {
            body,
            headers: Vec::new(),
            member: None,
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
    /// Creates a problem. `detail` says what is wrong and what to do. It must not quote the request.
    pub fn new(kind: &'static ProblemKind, detail: impl Into<String>) -> Self {
        ProblemBody::new(kind, detail).into()
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets a further member of the document. There is only one: a second call replaces it.
    #[must_use]
    pub fn with_member(mut self, name: &'static str, value: &'static str) -> Self {
        self.member = Some((name, value));
        self
    }

    /// Returns the problem's stable name, for programs.
    pub fn code(&self) -> &'static str {
        self.body.kind.code
    }

    /// Returns the text for the caller.
    pub fn detail(&self) -> &str {
        &self.body.detail
    }

    /// Returns the text for the log, if the server is at fault.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.body.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Creates the problem that the resource does not support the method. `allow` is the value of the
    /// header `Allow`.
    pub fn method_not_allowed(allow: &str) -> Self {
        let problem = Self::new(
            &problem_kind::METHOD_NOT_ALLOWED,
            format!("This resource does not support the method. Use one of: {allow}."),
        );
        problem.with_text_header(ALLOW, allow)
    }

    pub(crate) fn not_one_host() -> Self {
        Self::new(
            &problem_kind::MALFORMED_REQUEST,
            "The request does not have exactly one Host header. Send one, because HTTP/1.1 requires it.",
        )
    }

    pub(crate) fn invalid_host() -> Self {
        Self::new(
            &problem_kind::MALFORMED_REQUEST,
            "The Host header or the host in the request target is malformed. Send a name or an address, and \
             optionally a port, as in Host: example.com:8080. A user name is not allowed.",
        )
    }

    pub(crate) fn not_https() -> Self {
        Self::new(
            &problem_kind::MALFORMED_REQUEST,
            "This port accepts HTTPS only, and the request is plain HTTP. Use https:// in the address.",
        )
    }

    pub(crate) fn unknown_transfer_coding() -> Self {
        Self::new(
            &problem_kind::UNKNOWN_TRANSFER_CODING,
            "The transfer coding is not supported. Send the body with a Content-Length, or with \
             Transfer-Encoding: chunked only.",
        )
    }

    /// Creates the problem that the body has a content coding, such as gzip.
    pub(crate) fn unsupported_content_encoding() -> Self {
        Self::new(&problem_kind::UNSUPPORTED_MEDIA_TYPE,
            "The body has a content coding. Send it without compression, and without the header Content-Encoding.",
        )
        .with_text_header(ACCEPT_ENCODING, "identity")
    }

    /// Creates the problem that the request has no JSON media type.
    pub(crate) fn unsupported_media_type() -> Self {
        Self::new(&problem_kind::UNSUPPORTED_MEDIA_TYPE,
            "The request has no JSON media type. Send JSON with the header Content-Type: application/json.",
        )
        .with_text_header(HeaderName::from_static("accept-post"), "application/json")
    }

    pub(crate) fn not_acceptable(offered: &str) -> Self {
        Self::new(&problem_kind::NOT_ACCEPTABLE,
            format!(
                "Accept does not allow a media type of this resource. Omit it, or accept one of: {offered}."
            ),
        )
        .with_text_header(ACCEPT, offered)
    }

    pub(crate) fn target_too_long(target_max: ByteSize) -> Self {
        Self::new(
            &problem_kind::TARGET_TOO_LONG,
            format!(
                "The request target has more than {} bytes. Send a shorter one. Operators raise {}.",
                target_max.bytes(),
                setting!(Settings, target_max)
            ),
        )
    }

    pub(crate) fn headers_too_large(headers_max: ByteSize) -> Self {
        Self::new(
            &problem_kind::HEADERS_TOO_LARGE,
            format!(
                "The request headers have more than {} bytes in total or there are more than \
                 {HEADER_COUNT_MAX} of them. Send less. Operators raise {} for more bytes.",
                headers_max.bytes(),
                setting!(Settings, headers_max)
            ),
        )
    }

    /// Creates the problem that a limit shared by all requests is reached. `seconds` is the value of
    /// `Retry-After`.
    pub fn overloaded(limit: LimitExceeded, seconds: u64) -> Self {
        let LimitExceeded { reason, setting } = limit;
        Self::new(&problem_kind::OVERLOADED,
            format!(
                "The server is overloaded: {reason}. Try again after the time in Retry-After. Operators raise \
                 {setting}."
            ),
        )
        .with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Creates the problem that the server does not accept requests any more.
    pub fn draining() -> Self {
        Self::new(
            &problem_kind::DRAINING,
            "This server is shutting down. Send the request to another server, or try again.",
        )
        .with_header(RETRY_AFTER, HeaderValue::from(1))
    }

    /// Creates the problem that the server is at fault. `fault` is only written to the log.
    pub fn internal(fault: impl Into<String>) -> Self {
        let mut problem = Self::new(
            &problem_kind::INTERNAL,
            "The server failed to handle the request. The server's log contains the cause with this \
             request_id.",
        );
        problem.fault = Some(fault.into());
        problem
    }

    fn with_text_header(self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value);
        self.with_header(name, value.unwrap_or(HeaderValue::from_static("")))
    }

    /// Creates the response. Its document contains the request's id, so that it can be found in the log.
    pub fn into_response(self, request_id: &str) -> Response {
        let mut document = self.body.document();
        document["request_id"] = request_id.into();
        if let Some((name, value)) = self.member {
            document[name] = value.into();
        }
        let mut response = json_response(self.status(), &document);
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status() == StatusCode::NOT_ACCEPTABLE {
            headers.insert(VARY, HeaderValue::from_static("Accept"));
        }
        headers.extend(self.headers);
        response
    }
}
