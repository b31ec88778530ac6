//! HTTP responses.

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;

/// The header that carries a request's id.
pub const REQUEST_ID: &str = "x-request-id";

/// A response whose body is complete.
pub type Response = hyper::Response<Full<Bytes>>;

/// Creates a response with a body, and with `Cache-Control: no-store`.
pub fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Creates a response with a JSON document, followed by a line feed.
///
/// # Panics
/// If the document cannot be serialized as JSON, for example because the keys of a map are not strings.
pub fn json_response(status: StatusCode, document: &impl Serialize) -> Response {
    let mut body = Vec::with_capacity(128);
    serde_json::to_writer(&mut body, document).expect("document should be serializable");
    body.push(b'\n');
    response(status, "application/json", body)
}
