//! One request and its answer on a connection of their own.
//!
//! Nothing is spawned and nothing is sent twice: whoever drops the exchange drops the connection.

use std::error::Error as _;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::time::Duration;

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
use crate::target::{Refusal, Target};
use crate::wire::Wire;

/// The longest head of an answer. hyper takes no more than 100 headers in it.
pub const HEAD_OCTETS_MAX: usize = 32 * 1024;

/// How many octets may come on the connection for each of the body: a chunk of one octet takes six.
/// What is left over is for interim answers (1xx), which are passed over.
const WIRE_OCTETS_PER_OCTET: usize = 8;

/// How long a receiver of a callback is listened to after the head of its answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is sent. `Host`, `User-Agent` and whatever is about the connection or the length of the body
/// are not the caller's to choose: such headers are left out.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Headers, in this order.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The whole body; may be empty.
    pub body: Bytes,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({}, {} octets)", self.method, self.body.len())
    }
}

/// Where an exchange ends.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// No octet of the request leaves if the first has not left by then.
    pub send_before: Instant,
    /// By then all is over, from the name to the last octet of the answer.
    pub deadline: Instant,
    /// The longest body of an answer.
    pub answer_octets: usize,
}

/// What came back.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// From 200 to 999. A redirect is an answer like any other.
    pub status: u16,
    /// `Retry-After`, as it was written.
    pub retry_after: Option<String>,
    /// The whole body; empty for callbacks.
    pub body: Bytes,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {} octets)", self.status, self.body.len())
    }
}

/// Why there is no answer. The texts quote neither the request nor the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection, for this reason. Nothing was sent.
    #[error("{0}")]
    NotConnected(&'static str),
    /// The host of a callback must not be called. Nothing was sent.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// There was a connection, or no time for one, when `send_before` had passed. Nothing was sent.
    #[error("the connection came too late to be used")]
    Late,
    /// No whole answer before the deadline.
    #[error("there was no whole answer in time")]
    TimedOut,
    /// The connection ended before the answer did.
    #[error("the answer was cut off")]
    CutOff,
    /// The answer's head or body is longer than is read.
    #[error("the answer is too long")]
    TooLong,
    /// The answer is not HTTP/1.
    #[error("the answer is not HTTP")]
    Malformed,
}

impl Failure {
    /// Whether an octet of the request may have left.
    pub fn sent(&self) -> bool {
        match self {
            Self::NotConnected(_) | Self::Refused(_) | Self::Late => false,
            Self::TimedOut | Self::CutOff | Self::TooLong | Self::Malformed => true,
        }
    }
}

/// How much of an answer is needed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Needed {
    /// A signature counts only when it came whole.
    Whole,
    /// A receiver has taken a callback when it says so, whatever it says beside.
    Head,
}

/// Sends the request and waits for the answer.
pub(crate) async fn exchange(
    stream: Stream,
    target: &Target,
    request: Request,
    limits: Limits,
    needed: Needed,
) -> Result<Answer, Failure> {
    let wire_octets_max = limits
        .answer_octets
        .saturating_mul(WIRE_OCTETS_PER_OCTET)
        .saturating_add(HEAD_OCTETS_MAX);
    let wire = Wire::new(stream, limits.send_before, wire_octets_max);
    let handshake = http1::Builder::new()
        .max_buf_size(HEAD_OCTETS_MAX)
        .max_header_size(HEAD_OCTETS_MAX)
        .handshake(TokioIo::new(wire))
        .await;
    let (mut sender, mut connection) =
        handshake.map_err(|_| Failure::NotConnected("the connection failed"))?;
    let outcome = {
        let mut talk = pin!(async {
            let answer = sender.send_request(message(target, request)).await?;
            let (head, body) = answer.into_parts();
            match needed {
                Needed::Whole => read_whole(head, body, limits.answer_octets).await,
                Needed::Head => read_head(&head, body, limits).await,
            }
        });
        let mut connected = true;
        let both = poll_fn(|context| {
            // Both are of one task: when one has something for the other, both are polled again.
            // How the connection ended the other side of it is told.
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
        Ok(Err(_)) if !wire.sent => Err(Failure::NotConnected("the connection was reset")),
        Err(_) if !wire.sent => Err(Failure::NotConnected(NOT_IN_TIME)),
        _ if wire.too_long => Err(Failure::TooLong),
        Ok(Err(Stop::Answer(failure))) => Err(failure),
        Ok(Err(Stop::Hyper(error))) => Err(judge(&error)),
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

/// Headers that we or hyper write. Another length than the body's would make two requests of one.
const OURS: [HeaderName; 10] = [
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

fn message(target: &Target, request: Request) -> hyper::Request<Full<Bytes>> {
    let host = HeaderValue::from_str(target.authority()).expect("a canonical host is ASCII");
    let agent = concat!("bulkhead/", env!("CARGO_PKG_VERSION"));
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in request.headers {
        if !OURS.contains(&name) {
            // Past 32768 headers one is left out; no server takes that many.
            let _ = headers.try_append(name, value);
        }
    }
    let mut message = hyper::Request::new(Full::new(request.body));
    *message.method_mut() = request.method;
    *message.uri_mut() = Uri::from(target.path().clone());
    *message.headers_mut() = headers;
    message
}

async fn read_whole(head: Parts, mut body: Incoming, octets_max: usize) -> Result<Answer, Stop> {
    let mut answer = answer(&head)?;
    if !has_end(&head, &body)? {
        return Err(Stop::Answer(Failure::CutOff));
    }
    let octets_max_u64 = u64::try_from(octets_max).unwrap_or(u64::MAX);
    if body.size_hint().lower() > octets_max_u64 {
        return Err(Stop::Answer(Failure::TooLong));
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if data.len() > octets_max - whole.len() {
            return Err(Stop::Answer(Failure::TooLong));
        }
        whole.extend_from_slice(&data);
    }
    answer.body = whole.into();
    Ok(answer)
}

/// Whether the end of the body can be told from a cut.
///
/// Mostly it has a length or a last chunk. A body that ends with the connection counts only where
/// the server said that it would (`Connection: close`, or HTTP/1.0, where this is usual): the end
/// in order is then part of what it said, and a reset, or the end of TLS without its farewell, is
/// still a cut. Without such a word nothing tells half an answer from a whole one.
fn has_end(head: &Parts, body: &Incoming) -> Result<bool, Stop> {
    if let Some(coding) = head.headers.get(header::TRANSFER_ENCODING) {
        // Other codings were not asked for, and nobody here undoes them.
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
    let closes = |value: &HeaderValue| {
        let mut words = value.as_bytes().split(|octet| *octet == b',');
        words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    let said = head.headers.get_all(header::CONNECTION).iter().any(closes);
    Ok(said || head.version == Version::HTTP_10)
}

/// The answer is there with its head. For a moment more the rest is read and thrown away: a receiver
/// whose connection is closed while it writes may take that for a failure.
async fn read_head(head: &Parts, mut body: Incoming, limits: Limits) -> Result<Answer, Stop> {
    let answer = answer(head)?;
    let rest = async {
        let mut left = limits.answer_octets;
        while let Some(Ok(frame)) = body.frame().await {
            let octets = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(octets) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    let _ = timeout_at(limits.deadline.min(Instant::now() + FAREWELL), rest).await;
    Ok(answer)
}

fn answer(head: &Parts) -> Result<Answer, Stop> {
    // Of these hyper hands out only the change to another protocol, for which nobody asked.
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

fn judge(error: &hyper::Error) -> Failure {
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
        // A chunk that is none, a record of TLS that is none.
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Failure::Malformed,
        _ => Failure::CutOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_show_nothing_of_what_was_sent_or_answered() {
        let request = Request {
            method: Method::POST,
            headers: vec![(header::AUTHORIZATION, HeaderValue::from_static("secret"))],
            body: Bytes::from_static(b"secret"),
        };
        assert_eq!(format!("{request:?}"), "Request(POST, 6 octets)");
        let answer = Answer {
            status: 200,
            retry_after: Some("secret".to_owned()),
            body: Bytes::from_static(b"secret"),
        };
        assert_eq!(format!("{answer:?}"), "Answer(200, 6 octets)");
    }

    #[test]
    fn a_request_has_our_headers_once_and_the_callers_in_order() {
        let ours = OURS
            .iter()
            .map(|name| (name.clone(), HeaderValue::from_static("9")));
        let other = |value| (header::COOKIE, HeaderValue::from_static(value));
        let request = Request {
            method: Method::POST,
            headers: ours.chain([other("1"), other("2")]).collect(),
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
