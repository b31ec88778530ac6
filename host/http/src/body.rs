//! Request bodies: read within limits, or discarded within bounds.

use crate::memory_budget::{LimitExceeded, MemoryBudget, RequestBody};
use crate::problem::Problem;
use crate::settings::Settings;
use bulkhead_envelope::{ByteSize, Problem as ProblemBody, setting};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, EXPECT};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Bounds on what is still read of a rejected body, so that the client can read the response. If the server
/// closed at once, the client might see a connection reset instead.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
const DISCARDING_TIME_MAX: Duration = Duration::from_secs(10);

/// Why a body was not read.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The body is larger than the limit.
    #[error("the body has more than {0}")]
    TooLarge(ByteSize),
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The connection ended within the body, or its framing is wrong.
    #[error("the body ended early")]
    Incomplete(#[source] hyper::Error),
    /// The bodies of all requests together use too much memory.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(body_max) => ProblemBody::body_too_large(body_max.bytes()).into(),
            BodyError::TooSlow => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "Body did not arrive in time",
                format!(
                    "Send the whole request body without pauses. Operators raise {}.",
                    setting!(Settings, body_timeout)
                ),
            ),
            BodyError::Incomplete(_) => Self::new(
                StatusCode::BAD_REQUEST,
                "body_incomplete",
                "Body broken off",
                "The request body ended early or is not framed as its headers say. Send it whole, with the \
                 right Content-Length or as complete chunks.",
            ),
            BodyError::Limit(limit) => limit.into(),
        }
    }
}

/// Reads a whole body. Memory for the announced length is reserved at once, so that an overload is
/// reported before the body is read; for a body without a length, memory is reserved as it arrives.
///
/// # Errors
/// [`BodyError`]. The rest of the body is then discarded in the background.
async fn read_body(
    mut body: Incoming,
    settings: &Settings,
    budget: &MemoryBudget,
) -> Result<RequestBody, BodyError> {
    let read = read(&mut body, settings, budget).await;
    if matches!(read, Err(ref error) if !matches!(error, BodyError::Incomplete(_))) {
        discard(body);
    }
    read
}

async fn read(
    body: &mut Incoming,
    settings: &Settings,
    budget: &MemoryBudget,
) -> Result<RequestBody, BodyError> {
    let deadline = Instant::now() + settings.body_timeout;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes = budget.body(announced)?;
    while let Some(frame) = next_frame(body, deadline).await? {
        let Ok(data) = frame.map_err(BodyError::Incomplete)?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > settings.body_max.as_usize() {
            return Err(BodyError::TooLarge(settings.body_max));
        }
        bytes.push(&data, budget)?;
    }
    Ok(bytes)
}

/// The next piece of a body, or an error if it is not there at the `deadline`.
async fn next_frame(
    body: &mut Incoming,
    deadline: Instant,
) -> Result<Option<hyper::Result<Frame<Bytes>>>, BodyError> {
    let frame = tokio::time::timeout_at(deadline, body.frame());
    let frame = frame.await.map_err(|_elapsed| BodyError::TooSlow)?;
    // A client that never pauses never lets a timer fire.
    if frame.is_some() && Instant::now() >= deadline {
        return Err(BodyError::TooSlow);
    }
    Ok(frame)
}

/// Limits on bodies.
pub struct BodyReader {
    /// Limits on one body.
    pub settings: Settings,
    /// The memory for all of them.
    pub budget: MemoryBudget,
}

/// A request whose body has not been read.
pub struct Call<'a> {
    /// Method, target, headers.
    pub head: &'a Parts,
    /// The part of the path that names something, where the route has one; else it is empty.
    pub path_parameter: &'a str,
    /// The body. [`Call::admit`] reads it, [`Call::discard_body`] discards it.
    pub body: Incoming,
    /// Limits on the body.
    pub reader: &'a BodyReader,
}

impl<'a> Call<'a> {
    /// The request's headers.
    pub fn headers(&self) -> &'a HeaderMap {
        &self.head.headers
    }

    /// Reads the body if the request is admitted, and discards it otherwise.
    ///
    /// # Errors
    /// The error with which it is not admitted, or a [`BodyError`].
    pub async fn admit<T>(self, admitted: Result<T, Problem>) -> Result<(T, RequestBody), Problem> {
        let BodyReader { settings, budget } = self.reader;
        let announced = self.headers().get(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let is_too_large = announced.is_some_and(|bytes| bytes > settings.body_max.bytes());
        let admitted = match admitted {
            Ok(_) if is_too_large => Err(BodyError::TooLarge(settings.body_max).into()),
            admitted => admitted,
        };
        match admitted {
            Ok(admitted) => Ok((admitted, read_body(self.body, settings, budget).await?)),
            Err(problem) => {
                self.discard_body();
                Err(problem)
            }
        }
    }

    /// Reads and discards the body in the background, within bounds. The body of a request with
    /// `Expect: 100-continue` is not read: that would tell the client to send it. If such a client sends the
    /// body nevertheless, the connection reads it after the response.
    pub fn discard_body(self) {
        if !self.headers().contains_key(EXPECT) && !self.body.is_end_stream() {
            discard(self.body);
        }
    }
}

fn discard(mut body: Incoming) {
    tokio::spawn(async move {
        let deadline = Instant::now() + DISCARDING_TIME_MAX;
        let mut left = DISCARDED_BYTES_MAX;
        while let Ok(Some(Ok(frame))) = next_frame(&mut body, deadline).await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    });
}

/// Reads and discards what a client still sends on a connection that was shut down for writing.
pub(crate) async fn discard_rest(stream: &TcpStream) {
    let read = async {
        let mut left = DISCARDED_BYTES_MAX;
        let mut buffer = vec![0; 8 << 10];
        while left > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(bytes) => left = left.saturating_sub(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ended = tokio::time::timeout(DISCARDING_TIME_MAX, read).await;
}
