//! What all routes share: answers, request ids, content negotiation, reading bodies.

use crate::config::HttpSettings;
use crate::problem::Problem;
use crate::room::{RequestBody, Room};
use bulkhead_store::TraceParent;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue,
};
use hyper::{HeaderMap, Response, StatusCode};
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

pub(crate) type Answer = Response<Full<Bytes>>;

/// The header that carries a request's id.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// The header that carries whose trace a request belongs to (W3C Trace Context).
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest id taken over from a caller.
const REQUEST_ID_OCTETS_MAX: usize = 128;

/// What is still read of a body that was refused, so that the client gets to see the answer
/// instead of a reset connection.
pub(crate) const REFUSED_BODY_OCTETS_MAX: usize = 64 << 20;
pub(crate) const REFUSED_BODY_TIME_MAX: Duration = Duration::from_secs(10);

pub(crate) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// `document` must be one that JSON can hold: objects with names of text.
pub(crate) fn json_answer(status: StatusCode, document: &impl Serialize) -> Answer {
    let mut octets = Vec::with_capacity(128);
    serde_json::to_writer(&mut octets, document).expect("our documents are JSON");
    octets.push(b'\n');
    answer(status, "application/json", octets)
}

/// The caller's id if it is sane, else a new one of 128 random bits.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let sane = |id: &&str| {
        (1..=REQUEST_ID_OCTETS_MAX).contains(&id.len())
            && id
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"-_.:/+=".contains(&c))
    };
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(sane)
        .map_or_else(new_request_id, str::to_owned)
}

/// Whose trace a request belongs to. What is malformed, or there twice, is nobody's.
pub(crate) fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (value, other) = (values.next()?, values.next());
    let value = value.to_str().ok().filter(|_| other.is_none())?;
    TraceParent::parse(value)
}

pub(crate) fn new_request_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Whether the content is declared as JSON: `application/json` or `…+json`, any parameters.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json"
        || essence.split_once('/').is_some_and(|(main, sub)| {
            !main.is_empty() && sub.len() > 5 && sub.ends_with("+json") && !sub.contains('/')
        })
}

/// How much the client wants a media type (RFC 9110 section 12.5.1), in thousandths. No `Accept`
/// wants everything.
pub(crate) fn wanted(headers: &HeaderMap, media_type: &str) -> u16 {
    let (main, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    let mut best = (0, 0);
    let mut any = false;
    for value in headers.get_all(ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            if name.is_empty() {
                continue;
            }
            any = true;
            let exactness = match name.as_str() {
                name if name == media_type => 3,
                name if name.strip_suffix("/*") == Some(main) => 2,
                "*/*" => 1,
                _ => continue,
            };
            let quality = parts
                .find_map(|parameter| {
                    parameter
                        .strip_prefix("q=")
                        .or(parameter.strip_prefix("Q="))
                })
                .map_or(Some(1.0), |q| {
                    q.parse::<f32>().ok().filter(|q| (0.0..=1.0).contains(q))
                });
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and 1000"
            )]
            let quality = quality.map_or(1000, |q| (q * 1000.0).round() as u16);
            // The same type may be there with several parameters; the kindest counts.
            best = best.max((exactness, quality));
        }
    }
    if any { best.1 } else { 1000 }
}

/// Reads a body whole, within the limits on its size and time. Room for what is announced is
/// taken at once, so that the refusal comes before the body; for a body without a length, as it
/// arrives.
pub(crate) async fn read_body(
    mut body: Incoming,
    settings: &HttpSettings,
    room: &Room,
) -> Result<RequestBody, Problem> {
    let deadline = Instant::now() + settings.body_timeout;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut octets = match room.body(announced) {
        Ok(octets) => octets,
        Err(problem) => {
            discard(body);
            return Err(problem);
        }
    };
    loop {
        match next_frame(&mut body, deadline).await {
            Ok(None) => return Ok(octets),
            Ok(Some(Err(_))) => return Err(Problem::body_broken()),
            Err(_) => {
                discard(body);
                return Err(Problem::body_too_slow());
            }
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                let taken = if octets.len() + data.len() > settings.body_octets {
                    Err(Problem::body_too_large(settings.body_octets))
                } else {
                    octets.push(&data, room)
                };
                if let Err(problem) = taken {
                    discard(body);
                    return Err(problem);
                }
            }
        }
    }
}

/// The time for a body was over.
struct Late;

/// The next piece of a body, until `deadline`.
async fn next_frame(
    body: &mut Incoming,
    deadline: Instant,
) -> Result<Option<hyper::Result<Frame<Bytes>>>, Late> {
    let frame = tokio::time::timeout_at(deadline, body.frame());
    let frame = frame.await.map_err(|_elapsed| Late)?;
    // A client that never pauses never lets a timer fire.
    if frame.is_some() && Instant::now() >= deadline {
        return Err(Late);
    }
    Ok(frame)
}

/// The octets of the body that the headers announce.
pub(crate) fn announced_octets(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads on in the background, within bounds. A client that asks first (`Expect: 100-continue`) is
/// told no by the answer itself, where to read would tell it to go on. Those that send all the same
/// are read from once the answer is out (`Answers::read_on`).
pub(crate) fn discard_unless_expected(headers: &HeaderMap, body: Incoming) {
    if !headers.contains_key(EXPECT) && !body.is_end_stream() {
        discard(body);
    }
}

fn discard(mut body: Incoming) {
    tokio::spawn(async move {
        let deadline = Instant::now() + REFUSED_BODY_TIME_MAX;
        let mut left = REFUSED_BODY_OCTETS_MAX;
        while let Ok(Some(Ok(frame))) = next_frame(&mut body, deadline).await {
            let octets = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(octets) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: hyper::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header value"))])
    }

    #[test]
    fn json_is_recognised_in_every_spelling() {
        for yes in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
        ] {
            assert!(is_json(&headers(CONTENT_TYPE, yes)), "{yes}");
        }
        for no in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "json",
            "+json",
            "a/b/c+json",
            "",
        ] {
            assert!(!is_json(&headers(CONTENT_TYPE, no)), "{no}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn the_most_exact_range_counts() {
        let octets = "application/octet-stream";
        for (accept, quality) in [
            ("*/*", 1000),
            ("application/octet-stream", 1000),
            ("application/*;q=0.5", 500),
            ("*/*;q=0.1, application/octet-stream;q=0.8", 800),
            ("application/octet-stream;q=0, */*", 0),
            ("application/json", 0),
        ] {
            assert_eq!(
                wanted(&headers(ACCEPT, accept), octets),
                quality,
                "{accept}"
            );
        }
        assert_eq!(wanted(&HeaderMap::new(), octets), 1000);
    }

    #[test]
    fn only_sane_ids_are_taken_over() {
        let name = || hyper::header::HeaderName::from_static(REQUEST_ID);
        assert_eq!(request_id(&headers(name(), "abc-1.2:3")), "abc-1.2:3");
        for odd in ["", "a b", "<script>", &"x".repeat(129)] {
            assert_eq!(request_id(&headers(name(), odd)).len(), 32, "{odd}");
        }
    }
}
