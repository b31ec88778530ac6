//! The path of a request through the server: limits, route, handler, problem document, log and metrics.

use crate::access::Audience;
use crate::app::App;
use crate::audit::{self, AuditedRequest, Wait};
use crate::client_address::client_address;
use crate::listen::OBSERVE_GROUP;
use crate::metrics::{Metrics, Outcome};
use crate::routes::{MALFORMED, ROUTES, Target};
use crate::trace::trace_parent;
use bulkhead_http::{
    Call, Connection, HandshakeFailure, Problem, REQUEST_ID, RequestFacts, Response, Service,
    check_head, problem_kind, request_id, response,
};
use bulkhead_store::TraceParent;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Minimum time between two log messages about overload. `/metrics` counts every overload.
const OVERLOAD_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Counts a request when it is dropped, which also happens if the client closes the connection early.
struct Counted<'a> {
    metrics: &'a Metrics,
    route: usize,
    start: Instant,
    outcome: Outcome,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let time = self.start.elapsed();
        self.metrics.http.count(self.route, self.outcome, time);
    }
}

/// Returns the method for the log. Clients may invent methods of any length.
fn method_label(method: &Method) -> &str {
    const LABEL_BYTES_MAX: usize = 16;
    let name = method.as_str();
    if name.len() <= LABEL_BYTES_MAX {
        name
    } else {
        "other"
    }
}

impl Service for App {
    async fn call(&self, connection: &Connection, request: Request<Incoming>) -> Response {
        let request_id = request_id(request.headers());
        let trace = self
            .access_log
            .then(|| trace_parent(request.headers()))
            .flatten();
        let (head, body) = request.into_parts();
        let target = self.visible(Target::of(head.uri.path()), connection);
        let mut counted = Counted {
            metrics: &self.metrics,
            route: target.number(),
            start: Instant::now(),
            outcome: Outcome::ClientClosed,
        };
        let facts = RequestFacts::default();
        let call = Call {
            head: &head,
            path_parameter: "",
            body,
            reader: &self.bodies,
            facts: &facts,
        };
        let is_recorded = self.access_log || self.audit.is_on();
        let peer = connection.peer.filter(|_| is_recorded);
        let peer = peer.map(|peer| peer.ip().to_canonical());
        let client = peer.map(|peer| client_address(peer, &head.headers, &self.trusted_proxies));
        let mut audited = self.audit.begin(audit::Request {
            id: &request_id,
            method: method_label(&head.method),
            route: target.label(),
            peer,
            client,
            facts: &facts,
            start: counted.start,
        });
        let result = self.dispatch(target, call, connection, &mut audited).await;
        let code = result.as_ref().err().map(Problem::code);
        let mut response = self.respond(result, &request_id);
        let outcome = audit::Outcome {
            status: Some(response.status().as_u16()),
            code,
            sent_bytes: match head.method {
                Method::HEAD => 0,
                _ => response.body().size_hint().lower(),
            },
        };
        if let Err(problem) = audited.end(outcome).await {
            response = self.respond(Err(problem), &request_id);
        }
        counted.outcome = Outcome::Answered(response.status());
        if self.access_log {
            tracing::info!(
                request.id = request_id,
                peer.address = peer.map(tracing::field::display),
                client.address = client.map(tracing::field::display),
                request.method = method_label(&head.method),
                trace.id = trace.as_ref().map(TraceParent::trace_id),
                request.route = target.label(),
                response.status = response.status().as_u16(),
                duration_us =
                    u64::try_from(counted.start.elapsed().as_micros()).unwrap_or(u64::MAX),
                "request answered"
            );
        }
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    fn count_unparsable(&self, status: StatusCode) {
        let outcome = Outcome::Answered(status);
        self.metrics.http.count(MALFORMED, outcome, Duration::ZERO);
    }

    fn count_handshake_failure(&self, why: HandshakeFailure) {
        self.metrics.access.count_handshake_failure(why);
    }

    fn open_connections(&self) -> &Gauge {
        &self.metrics.connections
    }

    fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    async fn finish(&self) {
        for (_, capability) in self.capabilities.iter() {
            capability.finish().await;
        }
    }

    fn cut(&self, is_finished: bool) {
        tracing::warn!(relay.ended = is_finished, "drain aborted");
    }
}

impl App {
    /// Returns the target if the listener serves it. With `--observe-listen`, health and metrics are served
    /// there and not elsewhere, and nothing else is served there.
    fn visible<'a>(&self, target: Target<'a>, connection: &Connection) -> Target<'a> {
        let Target::Resource(at, _) = target else {
            return target;
        };
        let is_observer = connection.group == OBSERVE_GROUP;
        match ROUTES[at].requires.audience() {
            Audience::Everyone => target,
            Audience::Observers if is_observer || !self.has_observe_listener => target,
            Audience::Callers if !is_observer => target,
            Audience::Observers | Audience::Callers => Target::Unknown,
        }
    }

    /// Returns the response to a request, and logs a problem.
    fn respond(&self, result: Result<Response, Problem>, request_id: &str) -> Response {
        result.unwrap_or_else(|problem| {
            self.log(&problem, request_id);
            problem.into_response(request_id)
        })
    }

    async fn dispatch<'a>(
        &'a self,
        target: Target<'a>,
        mut call: Call<'a>,
        connection: &Connection,
        audited: &mut AuditedRequest<'_>,
    ) -> Result<Response, Problem> {
        let checked = check_head(call.head, &self.bodies.settings)
            .and_then(|()| self.access.check_host(call.head, connection))
            .and_then(|()| target.check(&call.head.method));
        let allow = match checked {
            Ok(allow) => allow,
            Err(problem) => {
                call.discard_body();
                return Err(problem);
            }
        };
        match target {
            Target::Resource(at, parameter) if call.head.method != Method::OPTIONS => {
                let route = &ROUTES[at];
                let caller = self.access.identify(route.requires, call.head, connection);
                let admitted = caller.and_then(|caller| {
                    if caller.is_audited(route.requires) {
                        let wait = match route.requires.audience() {
                            Audience::Callers => Wait::IfRequired,
                            // Monitoring must still respond when the audit log fails.
                            Audience::Observers | Audience::Everyone => Wait::Never,
                        };
                        audited.set_caller(&caller, wait);
                    }
                    let running = self.access.admit(route.requires, &caller)?;
                    Ok((caller, running))
                });
                let (caller, _running) = match admitted {
                    Ok(admitted) => admitted,
                    Err(problem) => {
                        call.discard_body();
                        return Err(problem);
                    }
                };
                call.path_parameter = parameter;
                (route.handler)(self, caller, call).await
            }
            Target::Resource(..) | Target::Server | Target::Unknown => {
                call.discard_body();
                let mut options = response(StatusCode::NO_CONTENT, "", "");
                let headers = options.headers_mut();
                headers.remove(CONTENT_TYPE);
                headers.insert(ALLOW, HeaderValue::from_static(allow));
                Ok(options)
            }
        }
    }

    /// Logs faults of the server as errors. Rejections have lower levels, and overload is logged at most once
    /// per [`OVERLOAD_LOG_INTERVAL`], because a client could otherwise fill the log.
    fn log(&self, problem: &Problem, request_id: &str) {
        let code = problem.code();
        if let Some(fault) = problem.fault() {
            tracing::error!(request.id = request_id, code, fault, "request failed");
        } else if code == problem_kind::OVERLOADED.code
            && self.overload_log.allows(OVERLOAD_LOG_INTERVAL)
        {
            let detail = problem.detail();
            tracing::warn!(
                request.id = request_id,
                code,
                detail,
                "request rejected for lack of capacity"
            );
        } else {
            tracing::debug!(request.id = request_id, code, "request rejected");
        }
    }
}
