//! One request to the upstream and its response, on their own connection.
//!
//! No task is spawned and nothing is sent twice. Dropping the exchange drops the connection.

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::pin;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::time::timeout_at;

use crate::call::{Failure, Limits, Request, Response, headers};
use crate::connect::Stream;
use crate::reason::NOT_IN_TIME;
use crate::target::Target;
use crate::tracked_stream::TrackedStream;

/// Maximum size of the head of a response of the upstream, in bytes. hyper accepts at most 100 headers in it.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Maximum number of bytes that are read from the connection per allowed byte of the body. A chunk
/// of one byte takes six. The remainder is for informational responses (1xx), which are skipped.
const WIRE_BYTES_PER_BYTE: usize = 8;

/// Sends the request and returns the response.
pub(crate) async fn exchange(
    stream: Stream,
    target: &Target,
    request: Request,
    limits: Limits,
) -> Result<Response, Failure> {
    let bytes_max = limits
        .response_bytes_max
        .saturating_mul(WIRE_BYTES_PER_BYTE)
        .saturating_add(HEAD_BYTES_MAX);
    let tracked = TrackedStream::new(stream, limits.send_before, bytes_max);
    let handshake = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(tracked))
        .await;
    let (mut sender, mut connection) =
        handshake.map_err(|_| Failure::NotConnected("the connection failed"))?;
    let outcome = {
        let mut talk = pin!(async {
            let response = sender.send_request(message(target, request)).await?;
            let (head, body) = response.into_parts();
            read_whole(head, body, limits.response_bytes_max).await
        });
        let mut connected = true;
        let both = poll_fn(|context| {
            // Both belong to one task. If one makes progress that the other needs, both are polled
            // again. The result of the connection is not needed, because `talk` gets the error,
            // too.
            connected = connected && connection.poll_without_shutdown(context).is_pending();
            talk.as_mut().poll(context)
        });
        timeout_at(limits.deadline, both).await
    };
    let tracked = connection.into_parts().io.into_inner();
    match outcome {
        Ok(Ok(response)) => {
            tracked.close();
            Ok(response)
        }
        _ if tracked.late => Err(Failure::ConnectedTooLate),
        Ok(Err(_)) if !tracked.sent() => Err(Failure::NotConnected("the connection was reset")),
        Err(_) if !tracked.sent() => Err(Failure::NotConnected(NOT_IN_TIME)),
        _ if tracked.too_long => Err(Failure::TooLong),
        Ok(Err(Stop::Failed(failure))) => Err(failure),
        Ok(Err(Stop::Hyper(error))) => Err(failure(&error)),
        Err(_) => Err(Failure::TimedOut),
    }
}

enum Stop {
    Failed(Failure),
    Hyper(hyper::Error),
}

impl From<hyper::Error> for Stop {
    fn from(error: hyper::Error) -> Self {
        Self::Hyper(error)
    }
}

fn message(target: &Target, request: Request) -> hyper::Request<Full<Bytes>> {
    let headers = headers(target, request.headers);
    let mut message = hyper::Request::new(Full::new(request.body));
    *message.method_mut() = request.method;
    *message.uri_mut() = Uri::from(target.path().clone());
    *message.headers_mut() = headers;
    message
}

async fn read_whole(head: Parts, mut body: Incoming, bytes_max: usize) -> Result<Response, Stop> {
    let mut response = response(&head)?;
    if !has_end(&head, &body)? {
        return Err(Stop::Failed(Failure::CutOff));
    }
    let bytes_max_u64 = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    if body.size_hint().lower() > bytes_max_u64 {
        return Err(Stop::Failed(Failure::TooLong));
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if data.len() > bytes_max - whole.len() {
            return Err(Stop::Failed(Failure::TooLong));
        }
        whole.extend_from_slice(&data);
    }
    response.body = whole.into();
    Ok(response)
}

/// Returns whether a complete body can be distinguished from one that was cut off.
///
/// Usually a body has a length or a last chunk. A body that ends with the connection counts only if
/// the server has announced this by `Connection: close` or HTTP/1.0. An orderly end is then a part
/// of the protocol. A reset, or an end of TLS without `close_notify`, still cuts the response off.
fn has_end(head: &Parts, body: &Incoming) -> Result<bool, Stop> {
    if let Some(coding) = head.headers.get(header::TRANSFER_ENCODING) {
        // Other codings were not requested and are not decoded here.
        let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        let only = head
            .headers
            .get_all(header::TRANSFER_ENCODING)
            .iter()
            .count()
            == 1;
        return if chunked && only {
            Ok(true)
        } else {
            Err(Stop::Failed(Failure::Malformed))
        };
    }
    if body.is_end_stream() || body.size_hint().exact().is_some() {
        return Ok(true);
    }
    let has_close = |value: &HeaderValue| {
        let mut words = value.as_bytes().split(|byte| *byte == b',');
        words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    let announced = head
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .any(has_close);
    Ok(announced || head.version == Version::HTTP_10)
}

fn response(head: &Parts) -> Result<Response, Stop> {
    // The only informational response that hyper returns is a switch of protocols, which was not
    // requested.
    if head.status.is_informational() {
        return Err(Stop::Failed(Failure::Malformed));
    }
    let retry_after = head
        .headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    Ok(Response {
        status: head.status.as_u16(),
        retry_after: retry_after.map(str::to_owned),
        body: Bytes::new(),
    })
}

fn failure(error: &hyper::Error) -> Failure {
    if error.is_parse_too_large() {
        return Failure::TooLong;
    }
    if error.is_parse() {
        return Failure::Malformed;
    }
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        // An invalid chunk or TLS record.
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Failure::Malformed,
        _ => Failure::CutOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::RESERVED;
    use hyper::Method;

    #[test]
    fn request_has_reserved_headers_once_and_other_headers_in_order() {
        let reserved = RESERVED
            .iter()
            .map(|name| (name.clone(), HeaderValue::from_static("9")));
        let other = |value| (header::COOKIE, HeaderValue::from_static(value));
        let request = Request {
            method: Method::POST,
            headers: reserved.chain([other("1"), other("2")]).collect(),
            body: Bytes::from_static(b"x"),
        };
        let target = Target::upstream("https://h:8443/p").unwrap();
        let message = message(&target, request);
        assert_eq!(message.uri(), "/p");
        let headers: Vec<_> = message
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        let version = concat!("bulkhead/", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            headers,
            [
                ("host", "h:8443"),
                ("user-agent", version),
                ("connection", "close"),
                ("cookie", "1"),
                ("cookie", "2"),
            ]
        );
    }
}
