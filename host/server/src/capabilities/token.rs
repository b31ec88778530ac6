//! `POST /token` and `POST /token/verify`.

mod secrets;
mod settings;

use super::{Capability, CapabilityStatus, Context, Definition, StartError, on_worker};
use crate::access::Caller;
use crate::components::{ActiveComponent, ComponentSource, HotSwap, Make};
use crate::config::secrets::{STRONG_BYTES, Secret, SecretError};
use bulkhead_http::envelope_kinds::INVALID_PARAMETER;
use bulkhead_http::{
    Call, LimitExceeded, Problem, ProblemBody, Response, json_response, negotiate, problem_kind,
    response, setting,
};
use bulkhead_sandbox::{
    Algorithm, Authenticator, CallerId, Fault, GuestComponent as _, InstanceLimits, PerThread,
    Pool, Rejection, Sandbox,
};
use hyper::{HeaderMap, StatusCode};
use secrets::Secrets;
use serde::Serialize;
use settings::TokenAlgorithm;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub(crate) use settings::TokenSettings as Settings;

/// The header with the token to verify.
const TOKEN: &str = "bulkhead-token";

/// Maximum time of a call on an I/O thread, which serves nothing else meanwhile. A call usually takes
/// microseconds. If it takes longer than this, a worker repeats it.
const INLINE_TIME: Duration = Duration::from_millis(100);

/// If the fastest of [`INLINE_TRIALS`] calls takes longer than this, I/O threads do not call the component.
const INLINE_TIME_USUAL: Duration = Duration::from_millis(1);
const INLINE_TRIALS: usize = 5;

const QUEUE_FULL: LimitExceeded = LimitExceeded {
    reason: "too many large bodies wait for a token worker",
    setting: setting!(Settings, token_queue_max),
};
const TIME_OVER: LimitExceeded = LimitExceeded {
    reason: "the time for one token has passed, because the machine is too busy",
    setting: setting!(Settings, token_timeout),
};

pub(crate) const DEFINITION: Definition = Definition {
    artifact: bulkhead_artifacts::TOKEN,
    contradictions: |settings, http| settings.token.contradictions(http),
    inspect: |context| context.settings.token.inspect(),
    admit: |context, source| Ok(maker(context)?(source)?.1),
};

/// The token capability: the component, its threads for large bodies, and the secrets.
pub(crate) struct State {
    component: Arc<ActiveComponent<Authenticators>>,
    pool: Pool,
    secrets: RwLock<Option<Arc<Secrets>>>,
    settings: Settings,
}

/// One component, loaded in each engine that calls it.
struct Authenticators {
    /// One instance for each I/O thread, for small bodies. `None` if the component is too slow for I/O
    /// threads.
    inline: Option<PerThread<Authenticator>>,
    /// For other bodies, on worker threads.
    pooled: Authenticator,
}

/// The operation that a request names.
enum Operation {
    Make { bare: bool },
    Verify { token: String },
}

impl Operation {
    /// Returns the operation of `POST /token`. The token has the form that the client prefers, and JSON by
    /// default.
    fn make(headers: &HeaderMap) -> Result<Self, Problem> {
        let form = negotiate(headers, &["application/json", "text/plain"])?;
        Ok(Self::Make { bare: form == 1 })
    }

    /// Returns the operation of `POST /token/verify`, with the token in the header.
    fn verify(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut tokens = headers.get_all(TOKEN).into_iter();
        match (tokens.next(), tokens.next()) {
            (None, _) => Err(bad_header("is missing")),
            (Some(_), Some(_)) => Err(bad_header("occurs more than once")),
            (Some(token), None) => match token.to_str() {
                Ok(token) => Ok(Self::Verify {
                    token: token.to_owned(),
                }),
                Err(_) => Err(bad_header("is not hexadecimal")),
            },
        }
    }
}

#[derive(Serialize)]
struct Made<'a> {
    token: &'a str,
    algorithm: &'static str,
}

#[derive(Serialize)]
struct Verified {
    valid: bool,
}

impl State {
    /// Loads the component and the secrets, and starts threads.
    ///
    /// # Errors
    /// [`StartError`] if the sandbox, the component, a secret or a thread cannot be set up.
    pub(crate) fn start(context: &Context<'_>) -> Result<Self, StartError> {
        let settings = &context.settings.token;
        let component = context.component(DEFINITION.artifact, maker(context)?)?;
        let workers = settings.token_workers;
        let pool = context.pool("token", workers, workers, settings.token_queue_max)?;
        let token = Self {
            component,
            pool,
            secrets: RwLock::new(None),
            settings: settings.clone(),
        };
        token.load_secrets()?;
        Ok(token)
    }

    /// Handles `POST /token`.
    pub(crate) async fn make(&self, caller: Caller, call: Call<'_>) -> Result<Response, Problem> {
        let operation = Operation::make(call.headers());
        self.respond(caller.id(), call, operation).await
    }

    /// Handles `POST /token/verify`.
    pub(crate) async fn verify(&self, caller: Caller, call: Call<'_>) -> Result<Response, Problem> {
        let operation = Operation::verify(call.headers());
        self.respond(caller.id(), call, operation).await
    }

    /// Returns the active secrets.
    fn secrets(&self) -> Option<Arc<Secrets>> {
        let secrets = self.secrets.read();
        secrets.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn respond(
        &self,
        caller: CallerId,
        call: Call<'_>,
        operation: Result<Operation, Problem>,
    ) -> Result<Response, Problem> {
        let secrets = self.secrets().ok_or_else(not_configured);
        let admitted = secrets.and_then(|secrets| Ok((secrets, operation?)));
        let facts = call.facts;
        let ((secrets, operation), body) = call.admit(admitted).await?;
        let algorithm = self.settings.token_algorithm;
        if body.len() <= self.settings.token_inline_max.as_usize() {
            let active = self.component.borrow();
            facts.set_code_sha256(active.sha256());
            if let Some(inline) = &active.component.inline {
                let result = perform(inline.get(), algorithm, &secrets, &body, &operation);
                // The machine may have paused. A worker has more time.
                if !matches!(result, Err(Fault::Deadline)) {
                    return result
                        .map(|response| active.attributed(response))
                        .map_err(|fault| problem(&fault));
                }
            }
        }
        let active = self.component.current();
        facts.set_code_sha256(active.sha256());
        let for_worker = Arc::clone(&active);
        let result = on_worker(&self.pool, caller, QUEUE_FULL, move || {
            perform(
                &for_worker.component.pooled,
                algorithm,
                &secrets,
                &body,
                &operation,
            )
        });
        result
            .await?
            .map(|response| active.attributed(response))
            .map_err(|fault| problem(&fault))
    }
}

impl State {
    fn load_secrets(&self) -> Result<(), SecretError> {
        let secrets = self.settings.secrets()?;
        for name in secrets.iter().flat_map(Secrets::weak) {
            tracing::warn!(
                name,
                "secret is weak: it has fewer than {STRONG_BYTES} bytes"
            );
        }
        for (name, oddity) in secrets.iter().flat_map(Secrets::odd) {
            let warning = format!("{name} {oddity}");
            tracing::warn!(warning, "secret is unusual");
        }
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets.map(Arc::new);
        Ok(())
    }
}

impl Capability for State {
    fn component(&self) -> Option<Arc<dyn HotSwap>> {
        Some(Arc::clone(&self.component) as _)
    }

    fn status(&self) -> CapabilityStatus {
        match self.secrets() {
            Some(_) => CapabilityStatus::Ready,
            None => CapabilityStatus::NotConfigured,
        }
    }

    fn reload(&self) -> Vec<SecretError> {
        self.load_secrets().err().into_iter().collect()
    }
}

/// Returns a function that prepares a component for tokens, for the workers and for the I/O threads.
fn maker(context: &Context<'_>) -> Result<Make<Authenticators>, StartError> {
    let settings = &context.settings.token;
    let name = DEFINITION.artifact.name;
    let limits = |time| InstanceLimits {
        memory_bytes: settings.token_memory_max.as_usize(),
        time,
    };
    let workers = settings.token_workers.into();
    let make_pooled = context.maker(name, workers, limits(settings.token_timeout))?;
    // Each I/O thread runs one instance at a time.
    let short = limits(INLINE_TIME);
    let inline = (0..context.io_threads).map(|_| context.sandbox(short.memory_bytes, 1));
    let inline = inline.collect::<Result<Vec<_>, _>>()?;
    let metrics = context.metrics.component(name);
    Ok(Box::new(move |source| {
        let (pooled, description) = make_pooled(source)?;
        let is_quick = matches!(source, ComponentSource::BuiltIn(_)) || is_quick(&pooled);
        let inline = if is_quick {
            let make = |sandbox: &Sandbox| {
                Authenticator::new(sandbox, &source.load(sandbox)?, short, metrics.clone())
            };
            let authenticators: Result<_, Rejection> = inline.iter().map(make).collect();
            Some(PerThread::new(authenticators?))
        } else {
            tracing::warn!("the token component is slow: token workers process small bodies too");
            None
        };
        Ok((Authenticators { inline, pooled }, description))
    }))
}

/// Whether calls are short enough for an I/O thread.
fn is_quick(authenticator: &Authenticator) -> bool {
    (0..INLINE_TRIALS).any(|_| {
        let start = Instant::now();
        let made = authenticator.make(Algorithm::Sha256, b"a secret", b"a small body");
        made.is_ok() && start.elapsed() <= INLINE_TIME_USUAL
    })
}

fn perform(
    authenticator: &Authenticator,
    algorithm: TokenAlgorithm,
    secrets: &Secrets,
    body: &[u8],
    operation: &Operation,
) -> Result<Response, Fault> {
    let current = secrets.current.expose();
    match operation {
        Operation::Make { bare } => {
            let token = authenticator.make(algorithm.into(), current, body)?;
            Ok(if *bare {
                response(StatusCode::OK, "text/plain; charset=utf-8", token)
            } else {
                json_response(
                    StatusCode::OK,
                    &Made {
                        token: &token,
                        algorithm: algorithm.name(),
                    },
                )
            })
        }
        Operation::Verify { token } => {
            let previous = secrets.previous.as_ref().map(Secret::expose);
            let secrets: Vec<_> = std::iter::once(current).chain(previous).collect();
            let valid = authenticator.verify(algorithm.into(), &secrets, body, token)?;
            Ok(json_response(StatusCode::OK, &Verified { valid }))
        }
    }
}

fn bad_header(what: &str) -> Problem {
    let detail = format!(
        "The header Bulkhead-Token {what}. Send the token in this header once, and the bytes that it was \
         made of as the body."
    );
    ProblemBody::new(&INVALID_PARAMETER, detail)
        .with_parameter("Bulkhead-Token")
        .into()
}

fn not_configured() -> Problem {
    Problem::new(
        &problem_kind::NOT_CONFIGURED,
        "No token secret is configured on this server. Operators set SECRET or SECRET_FILE, \
         and restart the server.",
    )
}

fn problem(fault: &Fault) -> Problem {
    match fault {
        // The work is proportional to the body, whose size is limited. The machine is therefore too busy.
        Fault::Deadline | Fault::Cancelled => Problem::overloaded(TIME_OVER, 1),
        Fault::Memory | Fault::KeysOverloaded | Fault::KeysCharged | Fault::Trap(_) => {
            Problem::internal(format!("the token component ended early: {fault}"))
        }
    }
}
