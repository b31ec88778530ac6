//! A request's way through the server: limits, route, body, capability, answer.

use crate::components::{Exchangeable, Watch};
use crate::config::Settings;
use crate::decrypt::Decrypt;
use crate::description;
use crate::health;
use crate::http::{
    self, Answer, REQUEST_ID, announced_octets, answer, discard_unless_expected, json_answer,
};
use crate::metrics::{Metrics, Outcome};
use crate::problem::Problem;
use crate::room::{RequestBody, Room};
use crate::routes::{REQUESTS, Route};
use crate::signing::{Asked, Signing};
use crate::token::{Question, Token};
use bulkhead_store::TraceParent;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::{HeaderMap, Method, Request, StatusCode, Version};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Refusals for want of room are logged this often at most, however many there are: `/metrics`
/// counts them.
const OVERLOAD_LOG_PAUSE: Duration = Duration::from_secs(10);

/// What all connections share.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) decrypt: Decrypt,
    pub(crate) token: Arc<Token>,
    pub(crate) signing: Option<Signing>,
    /// All that is in force.
    pub(crate) components: Vec<Arc<dyn Exchangeable>>,
    pub(crate) watch: Option<Watch>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) bodies: Room,
    pub(crate) draining: AtomicBool,
    pub(crate) overload_log: Seldom,
    pub(crate) accept_log: Seldom,
}

/// Says yes once in a while.
pub(crate) struct Seldom {
    start: Instant,
    /// Milliseconds from the start to the next yes.
    next_ms: AtomicU64,
}

impl Seldom {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            next_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn now(&self, pause: Duration) -> bool {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = ms(self.start.elapsed());
        let next = self.next_ms.load(Ordering::Relaxed);
        let then = now.saturating_add(ms(pause));
        now >= next
            && self
                .next_ms
                .compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// Counts a request when it is over, also where the client hangs up and nobody goes on with it.
struct Counted<'a> {
    metrics: &'a Metrics,
    route: Route,
    start: Instant,
    outcome: Outcome,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let time = self.start.elapsed();
        self.metrics.http.count(self.route, self.outcome, time);
    }
}

impl App {
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let request_id = http::request_id(request.headers());
        let is_logged = self.settings.access_log.is_on();
        let trace = is_logged.then(|| http::trace_parent(request.headers()));
        let mut counted = Counted {
            metrics: &self.metrics,
            route: Route::of(request.uri().path()),
            start: Instant::now(),
            outcome: Outcome::HungUp,
        };
        let mut answer = match self.route(counted.route, request).await {
            Ok(answer) => answer,
            Err(problem) => {
                self.log(&problem, &request_id);
                problem.into_answer(&request_id)
            }
        };
        counted.outcome = Outcome::Answered(answer.status());
        if is_logged {
            tracing::info!(
                request.id = request_id,
                trace.id = trace.flatten().as_ref().map(TraceParent::trace_id),
                request.route = counted.route.name(),
                response.status = answer.status().as_u16(),
                duration_us =
                    u64::try_from(counted.start.elapsed().as_micros()).unwrap_or(u64::MAX),
                "answered"
            );
        }
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            answer.headers_mut().insert(REQUEST_ID, id);
        }
        answer
    }

    /// Our faults are errors; what a client can cause is not, or it could fill the log.
    fn log(&self, problem: &Problem, request_id: &str) {
        let code = problem.code();
        if let Some(fault) = problem.fault() {
            tracing::error!(request.id = request_id, code, fault, "failed");
        } else if problem.is_overload() && self.overload_log.now(OVERLOAD_LOG_PAUSE) {
            let detail = problem.detail();
            tracing::warn!(
                request.id = request_id,
                code,
                detail,
                "refused for want of room"
            );
        } else {
            tracing::debug!(request.id = request_id, code, "refused");
        }
    }

    async fn route(&self, route: Route, request: Request<Incoming>) -> Result<Answer, Problem> {
        let (head, body) = request.into_parts();
        let headers = &head.headers;
        if let Err(problem) = self.check(route, &head) {
            discard_unless_expected(headers, body);
            return Err(problem);
        }
        if head.method == Method::OPTIONS {
            discard_unless_expected(headers, body);
            let mut options = answer(StatusCode::NO_CONTENT, "application/json", "");
            options.headers_mut().remove(hyper::header::CONTENT_TYPE);
            options
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(route.allow()));
            return Ok(options);
        }
        match route {
            Route::DecryptMessage => self.decrypt_message(headers, body).await,
            Route::Token => self.token(headers, body, Question::make(headers)).await,
            Route::TokenVerify => self.token(headers, body, Question::verify(headers)).await,
            Route::CryptoSign
            | Route::CryptoVerify
            | Route::CryptoTestApiKey
            | Route::CryptoRequest
            | Route::CryptoRedeliver => self.signing(route, &head, body).await,
            Route::Readyz | Route::Health if self.draining.load(Ordering::Relaxed) => {
                Err(Problem::draining())
            }
            Route::Livez | Route::Readyz => {
                discard_unless_expected(headers, body);
                Ok(json_answer(
                    StatusCode::OK,
                    &serde_json::json!({"status": "ok"}),
                ))
            }
            Route::Health => {
                discard_unless_expected(headers, body);
                let folder = self.watch.as_ref().map(Watch::state);
                let health = health::document(
                    &self.components,
                    folder.as_ref(),
                    &self.token.capability(),
                    self.signing.as_ref(),
                );
                Ok(json_answer(StatusCode::OK, &health))
            }
            Route::Metrics => {
                discard_unless_expected(headers, body);
                self.metrics.answer(headers)
            }
            Route::OpenapiYaml => {
                discard_unless_expected(headers, body);
                Ok(description::yaml())
            }
            Route::OpenapiJson => {
                discard_unless_expected(headers, body);
                Ok(description::json())
            }
            Route::Server | Route::Unknown | Route::Malformed => Err(Problem::not_found()),
        }
    }

    /// What can be refused before a body is read: target, headers, path, method.
    fn check(&self, route: Route, head: &hyper::http::request::Parts) -> Result<(), Problem> {
        let limits = &self.settings.http;
        let authority = head.uri.authority().map_or(0, |it| it.as_str().len());
        let path = head.uri.path_and_query().map_or(0, |it| it.as_str().len());
        let target = authority + path;
        if target > limits.target_octets {
            return Err(Problem::target_too_long(limits.target_octets));
        }
        // Name, colon, blank, value and line end, as they came over the wire.
        let headers: usize = head
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        if headers > limits.headers_octets {
            return Err(Problem::headers_too_large(limits.headers_octets));
        }
        // RFC 9112 section 3.2.
        let hosts = head.headers.get_all(HOST).iter().count();
        if hosts > 1 || (head.version == Version::HTTP_11 && hosts == 0) {
            return Err(Problem::not_one_host());
        }
        // RFC 9112 section 6.1.
        let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
        if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
            return Err(Problem::unknown_transfer_coding());
        }
        if route == Route::Unknown {
            return Err(Problem::not_found());
        }
        if !route.allows(&head.method) {
            return Err(Problem::method_not_allowed(route.allow()));
        }
        Ok(())
    }

    async fn decrypt_message(
        &self,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Answer, Problem> {
        let admitted = || {
            if !http::is_json(headers) {
                return Err(Problem::unsupported_media_type());
            }
            Decrypt::form(headers)
        };
        let (form, body) = self.admit(headers, body, admitted()).await?;
        self.decrypt.handle(body, form).await
    }

    async fn token(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        question: Result<Question, Problem>,
    ) -> Result<Answer, Problem> {
        let admitted = self
            .token
            .secrets()
            .and_then(|secrets| Ok((secrets, question?)));
        let ((secrets, question), body) = self.admit(headers, body, admitted).await?;
        self.token.handle(body, question, secrets).await
    }

    async fn signing(
        &self,
        route: Route,
        head: &hyper::http::request::Parts,
        body: Incoming,
    ) -> Result<Answer, Problem> {
        let trace = http::trace_parent(&head.headers);
        let signing = self.signing.as_ref();
        let admitted = signing.ok_or_else(Problem::signing_not_configured);
        if route == Route::CryptoSign && head.method == Method::POST {
            let admitted = admitted.and_then(|signing| {
                if http::is_json(&head.headers) {
                    Ok(signing)
                } else {
                    Err(Problem::unsupported_media_type())
                }
            });
            let (signing, body) = self.admit(&head.headers, body, admitted).await?;
            // What the client took to send it is not counted.
            let until = signing.deadline();
            return signing.sign(Asked::Json(&body), trace, until).await;
        }
        discard_unless_expected(&head.headers, body);
        let signing = admitted?;
        let until = signing.deadline();
        let query = head.uri.query().unwrap_or_default();
        let rest = head.uri.path().strip_prefix(REQUESTS).unwrap_or_default();
        let id = rest.split('/').next().unwrap_or_default();
        match route {
            Route::CryptoVerify => signing.verify(query, trace, until).await,
            Route::CryptoTestApiKey => signing.test_key(trace, until).await,
            Route::CryptoRequest => signing.request(id).await,
            Route::CryptoRedeliver => signing.redeliver(id).await,
            _ => signing.sign(Asked::Query(query), trace, until).await,
        }
    }

    /// Reads the body of a request that is welcome so far, and discards that of one that is not.
    async fn admit<T>(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        admitted: Result<T, Problem>,
    ) -> Result<(T, RequestBody), Problem> {
        let limits = &self.settings.http;
        let too_large =
            announced_octets(headers).is_some_and(|octets| octets > limits.body_octets as u64);
        let admitted = match admitted {
            Ok(_) if too_large => Err(Problem::body_too_large(limits.body_octets)),
            other => other,
        };
        match admitted {
            Ok(what) => {
                let body = http::read_body(body, limits, &self.bodies).await?;
                Ok((what, body))
            }
            Err(problem) => {
                discard_unless_expected(headers, body);
                Err(problem)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seldom_is_not_twice_in_a_row() {
        let seldom = Seldom::new();
        assert!(seldom.now(Duration::from_hours(1)));
        assert!(!seldom.now(Duration::from_hours(1)));
        let often = Seldom::new();
        assert!(often.now(Duration::ZERO) && often.now(Duration::ZERO));
    }
}
