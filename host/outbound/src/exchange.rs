//! One request to the upstream and its response, on their own connection.
//!
//! No task is spawned and nothing is sent twice. Dropping the exchange drops the connection.

use std::error::Error as _;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Method, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use crate::connect::Stream;
use crate::reason::NOT_IN_TIME;
use crate::receiver::StatusLineFault;
use crate::target::{Refusal, Target};
use crate::wire::Wire;

/// Maximum size of the head of a response of the upstream, in bytes. hyper accepts at most 100 headers in it.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Maximum number of bytes that are read from the connection per allowed byte of the body. A chunk
/// of one byte takes six. The remainder is for informational responses (1xx), which are skipped.
const WIRE_BYTES_PER_BYTE: usize = 8;

/// A request. The headers `Host` and `User-Agent`, and those about the connection or the length of
/// the body, are set by this crate. They are ignored in `headers`.
#[derive(Clone)]
pub struct Request {
    /// The HTTP method.
    pub method: Method,
    /// The headers in the order in which they are sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The whole body, which may be empty.
    pub body: Bytes,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({}, {} bytes)", self.method, self.body.len())
    }
}

/// The limits of an exchange.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The time by which the first byte of the request must be sent. Otherwise nothing is sent.
    pub send_before: Instant,
    /// The end of the whole exchange, from resolving the name to the last byte of the response.
    pub deadline: Instant,
    /// Maximum size of the body of the response, in bytes.
    pub answer_octets: usize,
}

/// A response. `Debug` shows only the status and the size of the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status, from 200 to 999. Redirects are not followed.
    pub status: u16,
    /// The value of `Retry-After` as it was received, if it is ASCII.
    pub retry_after: Option<String>,
    /// The whole body. It is empty for callbacks.
    pub body: Bytes,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {} bytes)", self.status, self.body.len())
    }
}

/// The reason why there is no response. The texts quote neither the request nor the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection was established, for this reason. Nothing was sent.
    #[error("{0}")]
    NotConnected(&'static str),
    /// The host of a callback is not allowed. Nothing was sent.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// `send_before` had passed before a byte could be sent. Nothing was sent.
    #[error("the connection was established too late to be used")]
    Late,
    /// The response was incomplete at the deadline.
    #[error("there was no complete response in time")]
    TimedOut,
    /// The connection ended before the response was complete.
    #[error("the response was cut off")]
    CutOff,
    /// The head or the body of the response exceeds its limit.
    #[error("the response is too long")]
    TooLong,
    /// The response is not valid HTTP/1.
    #[error("the response is not HTTP")]
    Malformed,
    /// The status line of a receiver's response is malformed.
    #[error("the status line of the response is malformed: {0}")]
    StatusLine(#[source] StatusLineFault),
}

impl Failure {
    /// Returns whether a byte of the request may have been sent.
    pub fn sent(&self) -> bool {
        match self {
            Self::NotConnected(_) | Self::Refused(_) | Self::Late => false,
            Self::TimedOut
            | Self::CutOff
            | Self::TooLong
            | Self::Malformed
            | Self::StatusLine(_) => true,
        }
    }
}

/// Sends the request and returns the response.
pub(crate) async fn exchange(
    stream: Stream,
    target: &Target,
    request: Request,
    limits: Limits,
) -> Result<Answer, Failure> {
    let wire_bytes_max = limits
        .answer_octets
        .saturating_mul(WIRE_BYTES_PER_BYTE)
        .saturating_add(HEAD_BYTES_MAX);
    let wire = Wire::new(stream, limits.send_before, wire_bytes_max);
    let handshake = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(wire))
        .await;
    let (mut sender, mut connection) =
        handshake.map_err(|_| Failure::NotConnected("the connection failed"))?;
    let outcome = {
        let mut talk = pin!(async {
            let answer = sender.send_request(message(target, request)).await?;
            let (head, body) = answer.into_parts();
            read_whole(head, body, limits.answer_octets).await
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
    let wire = connection.into_parts().io.into_inner();
    match outcome {
        Ok(Ok(answer)) => {
            wire.close();
            Ok(answer)
        }
        _ if wire.late => Err(Failure::Late),
        Ok(Err(_)) if !wire.sent() => Err(Failure::NotConnected("the connection was reset")),
        Err(_) if !wire.sent() => Err(Failure::NotConnected(NOT_IN_TIME)),
        _ if wire.too_long => Err(Failure::TooLong),
        Ok(Err(Stop::Answer(failure))) => Err(failure),
        Ok(Err(Stop::Hyper(error))) => Err(failure(&error)),
        Err(_) => Err(Failure::TimedOut),
    }
}

enum Stop {
    Answer(Failure),
    Hyper(hyper::Error),
}

impl From<hyper::Error> for Stop {
    fn from(error: hyper::Error) -> Self {
        Self::Hyper(error)
    }
}

/// Headers that this crate or hyper writes. A length other than that of the body would make two
/// requests of one.
const RESERVED: [HeaderName; 10] = [
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
];

/// Returns the headers of a request. The length of the body is not among them.
pub(crate) fn headers(target: &Target, others: Vec<(HeaderName, HeaderValue)>) -> HeaderMap {
    let host = HeaderValue::from_str(target.authority()).expect("canonical host should be ASCII");
    let agent = concat!("bulkhead/", env!("CARGO_PKG_VERSION"));
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in others {
        if !RESERVED.contains(&name) {
            // `HeaderMap` holds at most 32768 headers. Further ones are left out, because no server
            // accepts that many.
            let _ = headers.try_append(name, value);
        }
    }
    headers
}

fn message(target: &Target, request: Request) -> hyper::Request<Full<Bytes>> {
    let headers = headers(target, request.headers);
    let mut message = hyper::Request::new(Full::new(request.body));
    *message.method_mut() = request.method;
    *message.uri_mut() = Uri::from(target.path().clone());
    *message.headers_mut() = headers;
    message
}

async fn read_whole(head: Parts, mut body: Incoming, bytes_max: usize) -> Result<Answer, Stop> {
    let mut answer = answer(&head)?;
    if !has_end(&head, &body)? {
        return Err(Stop::Answer(Failure::CutOff));
    }
    let bytes_max_u64 = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    if body.size_hint().lower() > bytes_max_u64 {
        return Err(Stop::Answer(Failure::TooLong));
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if data.len() > bytes_max - whole.len() {
            return Err(Stop::Answer(Failure::TooLong));
        }
        whole.extend_from_slice(&data);
    }
    answer.body = whole.into();
    Ok(answer)
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
            Err(Stop::Answer(Failure::Malformed))
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

fn answer(head: &Parts) -> Result<Answer, Stop> {
    // The only informational response that hyper returns is a switch of protocols, which was not
    // requested.
    if head.status.is_informational() {
        return Err(Stop::Answer(Failure::Malformed));
    }
    let retry_after = head
        .headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    Ok(Answer {
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

    #[test]
    fn debug_output_hides_headers_and_bodies() {
        let request = Request {
            method: Method::POST,
            headers: vec![(header::AUTHORIZATION, HeaderValue::from_static("secret"))],
            body: Bytes::from_static(b"secret"),
        };
        assert_eq!(format!("{request:?}"), "Request(POST, 6 bytes)");
        let answer = Answer {
            status: 200,
            retry_after: Some("secret".to_owned()),
            body: Bytes::from_static(b"secret"),
        };
        assert_eq!(format!("{answer:?}"), "Answer(200, 6 bytes)");
    }

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
