//! Responses.

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;

/// The header that carries a request's id.
pub const REQUEST_ID: &str = "x-request-id";

/// A whole response.
pub type Response = hyper::Response<Full<Bytes>>;

/// A response with a body. It is not to be stored by caches.
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

/// A response with a JSON document and a line end behind it.
///
/// # Panics
/// If JSON cannot hold the document: one with a map whose keys are not text, for example.
pub fn json_response(status: StatusCode, document: &impl Serialize) -> Response {
    let mut body = Vec::with_capacity(128);
    serde_json::to_writer(&mut body, document).expect("the document should be JSON");
    body.push(b'\n');
    response(status, "application/json", body)
}
