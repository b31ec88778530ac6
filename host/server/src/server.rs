//! Connections, routes, and the end of both.

use crate::config::Settings;
use crate::decrypt::Decrypt;
use crate::http::{
    self, Answer, BodyRoom, REQUEST_ID, announced_octets, answer, discard_unless_expected,
    json_answer,
};
use crate::problem::Problem;
use crate::token::{Question, Token};
use crate::wire::{Bodyless, Refusals, Wire};
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioTimer;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Octets hyper buffers of a request head. Above our own limits, so that it is us who refuse, with
/// a problem document; a head beyond even this is refused by hyper (see `wire`).
const HEAD_BUFFER_OCTETS: usize = 512 << 10;
const HEADERS_MAX: usize = 1024;

/// Pause after a failure to accept, which is most often a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

struct App {
    settings: Settings,
    decrypt: Decrypt,
    token: Arc<Token>,
    body_room: BodyRoom,
    draining: AtomicBool,
}

/// Serves until told to stop; returns when everything that ran has ended, or its time has.
///
/// `stop` carries how many signals came: the first drains, the second cuts.
pub(crate) async fn serve(
    settings: Settings,
    decrypt: Decrypt,
    token: Arc<Token>,
    listener: TcpListener,
    mut stop: watch::Receiver<u32>,
) {
    let connections = Arc::new(Semaphore::new(settings.http.connections_max as usize));
    let (drain_delay, drain_timeout) = (settings.http.drain_delay, settings.http.drain_timeout);
    let body_room = BodyRoom::new(settings.http.bodies_octets);
    let app = Arc::new(App {
        settings,
        decrypt,
        token,
        body_room,
        draining: AtomicBool::new(false),
    });
    let (close, closed) = watch::channel(false);
    let accepting = tokio::spawn(accept(
        Arc::clone(&app),
        listener,
        Arc::clone(&connections),
        closed,
    ));
    signals(&mut stop, 1).await;
    app.draining.store(true, Ordering::Relaxed);
    tracing::info!(delay_ms = millis(drain_delay), "draining");
    tokio::select! {
        () = tokio::time::sleep(drain_delay) => {}
        () = signals(&mut stop, 2) => {}
    }
    // Closes the listener too.
    accepting.abort();
    let _nobody = close.send(true);
    let all = app.settings.http.connections_max;
    tokio::select! {
        _ = connections.acquire_many(all) => tracing::info!("drained"),
        () = tokio::time::sleep(drain_timeout) => tracing::warn!("drain time-out, cutting"),
        () = signals(&mut stop, 2) => tracing::warn!("second signal, cutting"),
    }
}

/// Waits until that many signals came.
async fn signals(stop: &mut watch::Receiver<u32>, count: u32) {
    if stop.wait_for(|&signals| signals >= count).await.is_err() {
        // Nobody can send any more.
        std::future::pending::<()>().await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn accept(
    app: Arc<App>,
    listener: TcpListener,
    connections: Arc<Semaphore>,
    closed: watch::Receiver<bool>,
) {
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _peer)) => {
                let (app, closed) = (Arc::clone(&app), closed.clone());
                tokio::spawn(async move {
                    connection(app, stream, closed).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(app: Arc<App>, stream: TcpStream, mut closed: watch::Receiver<bool>) {
    let _slower_at_worst = stream.set_nodelay(true);
    let headers_timeout = app.settings.http.headers_timeout;
    let bodyless = Bodyless::default();
    let refusals = Refusals {
        target_octets: app.settings.http.target_octets,
        headers_octets: app.settings.http.headers_octets,
    };
    let wire = Wire::new(stream, bodyless.clone(), refusals);
    let service = service_fn(move |request: Request<Incoming>| {
        let app = Arc::clone(&app);
        bodyless.set(request.method() == Method::HEAD);
        async move { Ok::<_, Infallible>(app.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(headers_timeout)
        .max_buf_size(HEAD_BUFFER_OCTETS)
        .max_headers(HEADERS_MAX)
        .serve_connection(wire, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { drop(closed.wait_for(|&closed| closed).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients that hang up or talk nonsense; nothing for an operator to act on.
        tracing::debug!(%error, "connection ended early");
    }
}

/// The resources, and what they answer to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    DecryptMessage,
    Token,
    TokenVerify,
    Livez,
    Readyz,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/decryptMessage" => Some(Self::DecryptMessage),
            "/token" => Some(Self::Token),
            "/token/verify" => Some(Self::TokenVerify),
            "/livez" => Some(Self::Livez),
            "/readyz" => Some(Self::Readyz),
            _ => None,
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Self::DecryptMessage | Self::Token | Self::TokenVerify => "POST, OPTIONS",
            Self::Livez | Self::Readyz => "GET, HEAD, OPTIONS",
        }
    }

    fn allows(self, method: &Method) -> bool {
        self.allow()
            .split(", ")
            .any(|allowed| allowed == method.as_str())
    }
}

impl App {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let request_id = http::request_id(request.headers());
        let mut answer = match self.route(request).await {
            Ok(answer) => answer,
            Err(problem) => {
                match problem.fault() {
                    Some(fault) => tracing::error!(
                        request.id = request_id,
                        code = problem.code(),
                        fault,
                        "failed"
                    ),
                    None => {
                        tracing::debug!(request.id = request_id, code = problem.code(), "refused");
                    }
                }
                problem.into_answer(&request_id)
            }
        };
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            answer.headers_mut().insert(REQUEST_ID, id);
        }
        answer
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        let (head, body) = request.into_parts();
        match self.check(&head) {
            Ok(route) if head.method == Method::OPTIONS => {
                discard_unless_expected(&head.headers, body);
                let mut options = answer(StatusCode::NO_CONTENT, "application/json", "");
                options.headers_mut().remove(hyper::header::CONTENT_TYPE);
                options
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static(route.allow()));
                Ok(options)
            }
            Ok(Route::DecryptMessage) => self.decrypt_message(&head.headers, body).await,
            Ok(Route::Token) => {
                let question = Question::make(&head.headers);
                self.token(&head.headers, body, question).await
            }
            Ok(Route::TokenVerify) => {
                let question = Question::verify(&head.headers);
                self.token(&head.headers, body, question).await
            }
            Ok(Route::Readyz) if self.draining.load(Ordering::Relaxed) => Err(Problem::draining()),
            Ok(Route::Livez | Route::Readyz) => {
                discard_unless_expected(&head.headers, body);
                Ok(json_answer(
                    StatusCode::OK,
                    &serde_json::json!({"status": "ok"}),
                ))
            }
            Err(problem) => {
                discard_unless_expected(&head.headers, body);
                Err(problem)
            }
        }
    }

    /// What can be refused before a route is asked: target, headers, path, method.
    fn check(&self, head: &hyper::http::request::Parts) -> Result<Route, Problem> {
        let limits = &self.settings.http;
        let target = head
            .uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
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
        let route = Route::of(head.uri.path()).ok_or_else(Problem::not_found)?;
        if !route.allows(&head.method) {
            return Err(Problem::method_not_allowed(route.allow()));
        }
        Ok(route)
    }

    async fn decrypt_message(
        &self,
        headers: &hyper::HeaderMap,
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
        headers: &hyper::HeaderMap,
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

    /// Reads the body of a request that is welcome so far, and discards that of one that is not.
    async fn admit<T>(
        &self,
        headers: &hyper::HeaderMap,
        body: Incoming,
        admitted: Result<T, Problem>,
    ) -> Result<(T, http::RequestBody), Problem> {
        let limits = &self.settings.http;
        let too_large =
            announced_octets(headers).is_some_and(|octets| octets > limits.body_octets as u64);
        let admitted = match admitted {
            Ok(_) if too_large => Err(Problem::body_too_large(limits.body_octets)),
            other => other,
        };
        match admitted {
            Ok(what) => {
                let body = http::read_body(body, limits, &self.body_room).await?;
                Ok((what, body))
            }
            Err(problem) => {
                discard_unless_expected(headers, body);
                Err(problem)
            }
        }
    }
}
