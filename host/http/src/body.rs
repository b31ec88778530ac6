//! Reads request bodies within limits, and discards those of rejected requests.

use crate::memory_budget::{LimitExceeded, MemoryBudget, RequestBody};
use crate::problem::Problem;
use crate::problem_kind;
use crate::settings::Settings;
use crate::socket::Socket;
use bulkhead_envelope::problem_kind::BODY_INCOMPLETE;
use bulkhead_envelope::{ByteSize, Problem as ProblemBody, setting};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, EXPECT};
use hyper::http::request::Parts;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

/// Limits on discarding the body of a rejected request. If the server closed the connection at once, the
/// client might get a connection reset instead of the response.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
const DISCARDING_TIME_MAX: Duration = Duration::from_secs(10);

/// A body was not read.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The body is larger than the limit.
    #[error("the body has more than {0}")]
    TooLarge(ByteSize),
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The connection ended within the body, or the body's framing is wrong.
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
                &problem_kind::BODY_TIMEOUT,
                format!(
                    "The request body did not arrive in time. Send it without pauses. Operators raise {}.",
                    setting!(Settings, body_timeout)
                ),
            ),
            BodyError::Incomplete(_) => Self::new(
                &BODY_INCOMPLETE,
                "The request body ended early or does not match the length in its headers. Send the whole \
                 body with the right Content-Length or in complete chunks.",
            ),
            BodyError::Limit(limit) => limit.into(),
        }
    }
}

/// Reads a whole body. Memory for an announced length is reserved first, so that an overload is reported
/// before the body is read. For a body without a length, memory is reserved as data arrives.
///
/// After an error, the rest of the body is discarded in the background.
async fn read_body(
    mut body: Incoming,
    settings: &Settings,
    budget: &MemoryBudget,
    facts: &RequestFacts,
) -> Result<RequestBody, BodyError> {
    let read = read(&mut body, settings, budget, facts).await;
    if matches!(read, Err(ref error) if !matches!(error, BodyError::Incomplete(_))) {
        discard(body);
    }
    read
}

async fn read(
    body: &mut Incoming,
    settings: &Settings,
    budget: &MemoryBudget,
    facts: &RequestFacts,
) -> Result<RequestBody, BodyError> {
    let deadline = Instant::now() + settings.body_timeout;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes = budget.body(announced)?;
    while let Some(frame) = next_frame(body, deadline).await? {
        let Ok(data) = frame.map_err(BodyError::Incomplete)?.into_data() else {
            continue;
        };
        facts.add_received(data.len());
        if bytes.len() + data.len() > settings.body_max.as_usize() {
            return Err(BodyError::TooLarge(settings.body_max));
        }
        bytes.push(&data, budget)?;
    }
    Ok(bytes)
}

/// Returns the next frame of a body, or an error if it has not arrived by the `deadline`.
async fn next_frame(
    body: &mut Incoming,
    deadline: Instant,
) -> Result<Option<hyper::Result<Frame<Bytes>>>, BodyError> {
    let frame = tokio::time::timeout_at(deadline, body.frame());
    let frame = frame.await.map_err(|_elapsed| BodyError::TooSlow)?;
    // The time-out polls the body first, so that it never fires if data is always available.
    if frame.is_some() && Instant::now() >= deadline {
        return Err(BodyError::TooSlow);
    }
    Ok(frame)
}

/// The limits on request bodies.
pub struct BodyReader {
    /// The limits on one body.
    pub settings: Settings,
    /// The memory for the bodies of all requests together.
    pub budget: MemoryBudget,
}

/// A request whose body has not been read.
pub struct Call<'a> {
    /// Method, target and headers.
    pub head: &'a Parts,
    /// The value of the route's path parameter, or an empty string if the route does not have one.
    pub path_parameter: &'a str,
    /// The body. [`Call::admit`] reads it, and [`Call::discard_body`] discards it.
    pub body: Incoming,
    /// The limits on the body.
    pub reader: &'a BodyReader,
    /// The facts that become known while the request is handled.
    pub facts: &'a RequestFacts,
}

/// Facts about a request that become known while it is handled, for the service's records.
#[derive(Debug, Default)]
pub struct RequestFacts {
    received_bytes: AtomicU64,
    code_sha256: OnceLock<[u8; 32]>,
}

impl RequestFacts {
    fn add_received(&self, bytes: usize) {
        self.received_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns the number of bytes of the body that were read. Bytes that were discarded do not count.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Sets the SHA-256 of the code that handles the request. A second call changes nothing.
    pub fn set_code_sha256(&self, sha256: &[u8; 32]) {
        self.code_sha256.get_or_init(|| *sha256);
    }

    /// Returns the SHA-256 of the code that handled the request, if the service has set it.
    pub fn code_sha256(&self) -> Option<&[u8; 32]> {
        self.code_sha256.get()
    }
}

impl<'a> Call<'a> {
    /// Returns the request's headers.
    pub fn headers(&self) -> &'a HeaderMap {
        &self.head.headers
    }

    /// Reads the body if `admitted` is `Ok`, and returns both. Otherwise the body is discarded in the
    /// background.
    ///
    /// # Errors
    /// The error in `admitted`, or a [`Problem`] for a [`BodyError`].
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
            Ok(admitted) => Ok((
                admitted,
                read_body(self.body, settings, budget, self.facts).await?,
            )),
            Err(problem) => {
                self.discard_body();
                Err(problem)
            }
        }
    }

    /// Reads and discards the body in the background, up to 64 MiB and for up to 10 seconds. The body of a
    /// request with `Expect: 100-continue` is not read, because reading would make hyper request it from
    /// the client. If the client sends it nevertheless, the connection discards it after the response.
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

/// Reads and discards all further data of a client, on a connection that was shut down for writing.
pub(crate) async fn discard_rest(mut stream: Socket) {
    let read = async {
        let mut left = DISCARDED_BYTES_MAX;
        let mut buffer = vec![0; 8 << 10];
        while left > 0 {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(bytes) => left = left.saturating_sub(bytes),
            }
        }
    };
    let _ended = tokio::time::timeout(DISCARDING_TIME_MAX, read).await;
}
