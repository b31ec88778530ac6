//! `POST /token` and `POST /token/verify`.

use crate::components::{ComponentSource, Slot, SlotContext};
use crate::config::TokenSettings;
use crate::health::Capability;
use crate::http::{Answer, answer, json_answer, wanted};
use crate::problem::{Limited, Problem};
use crate::room::RequestBody;
use crate::secrets::{Secret, Secrets};
use bulkhead_sandbox::{
    Algorithm, Authenticator, ComponentMetrics, Description, Fault, GuestComponent as _,
    InstanceLimits, PerThread, Pool, Refusal, Sandbox,
};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::oneshot;

/// The header that carries a token to be checked.
pub(crate) const TOKEN: &str = "bulkhead-token";

/// What a call on an I/O thread may take: some microseconds are usual, and nothing else happens on
/// that thread meanwhile. Over it, a worker makes the call again.
const INLINE_TIME: Duration = Duration::from_millis(100);

/// A component whose calls take longer than this, the quickest of a few, is not called there at all.
const INLINE_TIME_USUAL: Duration = Duration::from_millis(1);
const INLINE_TRIALS: usize = 5;

const QUEUE: Limited = Limited {
    what: "too many large bodies wait for their token",
    flag: "--token-queue-max",
    variable: "BULKHEAD_TOKEN_QUEUE_MAX",
};
const TIME: Limited = Limited {
    what: "the time for a token was over, on a machine too busy",
    flag: "--token-timeout",
    variable: "BULKHEAD_TOKEN_TIMEOUT",
};

/// The token capability: the component, its threads for large bodies, the secrets.
pub(crate) struct Token {
    pub(crate) slot: Arc<Slot<Authenticators>>,
    pool: Pool,
    secrets: RwLock<Option<Arc<Secrets>>>,
    settings: TokenSettings,
}

/// One component, ready in each engine that it is called in.
pub(crate) struct Authenticators {
    /// For small bodies, called where the request was read: one for each I/O thread. None where it is
    /// too slow for that.
    inline: Option<PerThread<Authenticator>>,
    /// For the others, on threads of their own.
    pooled: Authenticator,
}

/// What is asked for.
pub(crate) enum Question {
    Make { bare: bool },
    Verify { token: String },
}

impl Question {
    /// A token, in the form the client wants most; JSON where it does not care.
    pub(crate) fn make(headers: &HeaderMap) -> Result<Self, Problem> {
        let json = wanted(headers, "application/json");
        let text = wanted(headers, "text/plain");
        match (json, text) {
            (0, 0) => Err(Problem::not_acceptable("application/json, text/plain")),
            (json, text) => Ok(Self::Make { bare: text > json }),
        }
    }

    /// Whether the token in the header is good.
    pub(crate) fn verify(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut tokens = headers.get_all(TOKEN).into_iter();
        match (tokens.next(), tokens.next()) {
            (None, _) => Err(Problem::token_header("is missing")),
            (Some(_), Some(_)) => Err(Problem::token_header("is there more than once")),
            (Some(token), None) => match token.to_str() {
                Ok(token) => Ok(Self::Verify {
                    token: token.to_owned(),
                }),
                Err(_) => Err(Problem::token_header("is not hexadecimal")),
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

impl Token {
    /// Loads the component that ships with the binary and the secrets, and starts threads.
    pub(crate) fn new(
        sandbox: &Sandbox,
        inline: &[Sandbox],
        settings: &TokenSettings,
        context: &SlotContext<'_>,
    ) -> Result<Self, String> {
        let metrics = context.metrics;
        let counted = metrics.component("token");
        let make = maker(sandbox.clone(), inline.to_vec(), settings, counted);
        let slot = Slot::new(bulkhead_artifacts::TOKEN, context, make)?;
        let pool = Pool::new(
            "token",
            settings.workers.into(),
            settings.workers.into(),
            settings.queue_max as usize,
        )
        .map_err(|error| format!("cannot start worker threads: {error}"))?;
        metrics.watch("token", pool.waiting());
        let token = Self {
            slot: Arc::new(slot),
            pool,
            secrets: RwLock::new(None),
            settings: settings.clone(),
        };
        token.load_secrets()?;
        Ok(token)
    }

    /// Reads the secrets again; where that fails, those in force stay.
    pub(crate) fn load_secrets(&self) -> Result<(), String> {
        let secrets = Secrets::load(
            self.settings.secret_file.as_deref(),
            self.settings.secret_previous_file.as_deref(),
        )?;
        for name in secrets.iter().flat_map(Secrets::weak) {
            tracing::warn!(name, "a secret of less than 32 octets is weak");
        }
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets.map(Arc::new);
        Ok(())
    }

    pub(crate) fn capability(&self) -> Capability {
        match self.secrets() {
            Ok(_) => Capability::Ready,
            Err(_) => Capability::NotConfigured,
        }
    }

    /// The secrets in force, or the refusal to give where there are none.
    pub(crate) fn secrets(&self) -> Result<Arc<Secrets>, Problem> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.clone().ok_or_else(Problem::token_not_configured)
    }

    pub(crate) async fn handle(
        &self,
        body: RequestBody,
        question: Question,
        secrets: Arc<Secrets>,
    ) -> Result<Answer, Problem> {
        let algorithm = self.settings.algorithm;
        if body.len() <= self.settings.inline_octets {
            let in_force = self.slot.borrow();
            if let Some(inline) = &in_force.component.inline {
                let answered = ask(inline.get(), algorithm, &secrets, &body, &question);
                // A machine that stood still for that long: a worker has more time.
                if !matches!(answered, Err(Fault::Deadline)) {
                    return answered
                        .map(|answer| in_force.attributed(answer))
                        .map_err(|fault| problem(&fault));
                }
            }
        }
        let in_force = self.slot.current();
        let (sender, receiver) = oneshot::channel();
        let begun = Arc::clone(&in_force);
        self.pool
            .submit(move |_| {
                // The client hung up while this waited.
                if sender.is_closed() {
                    return;
                }
                let authenticator = &begun.component.pooled;
                let answered = ask(authenticator, algorithm, &secrets, &body, &question);
                // Nobody there any more: the client hung up.
                let _gone = sender.send(answered);
            })
            .map_err(|_| Problem::overloaded(QUEUE, 1))?;
        let answered = receiver
            .await
            .map_err(|_| Problem::internal("the job for the token panicked"))?;
        answered
            .map(|answer| in_force.attributed(answer))
            .map_err(|fault| problem(&fault))
    }
}

/// What makes a component ready to make tokens, with and without threads of its own.
pub(crate) fn maker(
    sandbox: Sandbox,
    inline: Vec<Sandbox>,
    settings: &TokenSettings,
    metrics: ComponentMetrics,
) -> impl Fn(ComponentSource<'_>) -> Result<(Authenticators, Description), Refusal> + Send + Sync + 'static
{
    let limits = |time| InstanceLimits {
        memory_octets: settings.memory_octets,
        time,
    };
    let (usual, short) = (limits(settings.timeout), limits(INLINE_TIME));
    move |source| {
        let make = |sandbox: &Sandbox, limits| {
            Authenticator::new(sandbox, &source.load(sandbox)?, limits, metrics.clone())
        };
        let pooled = make(&sandbox, usual)?;
        let description = source.admit(&pooled)?;
        let is_quick = matches!(source, ComponentSource::BuiltIn(_)) || is_quick(&pooled);
        let inline = if is_quick {
            let authenticators: Result<_, Refusal> =
                inline.iter().map(|sandbox| make(sandbox, short)).collect();
            Some(PerThread::new(authenticators?))
        } else {
            tracing::warn!("the token component is slow: small bodies go to the token workers too");
            None
        };
        Ok((Authenticators { inline, pooled }, description))
    }
}

/// Whether an I/O thread can do without the time that a call takes.
fn is_quick(authenticator: &Authenticator) -> bool {
    (0..INLINE_TRIALS).any(|_| {
        let start = std::time::Instant::now();
        let made = authenticator.make(Algorithm::Sha256, b"a secret", b"a small body");
        made.is_ok() && start.elapsed() <= INLINE_TIME_USUAL
    })
}

fn ask(
    authenticator: &Authenticator,
    algorithm: TokenAlgorithm,
    secrets: &Secrets,
    body: &[u8],
    question: &Question,
) -> Result<Answer, Fault> {
    let current = secrets.current.expose();
    match question {
        Question::Make { bare } => {
            authenticator
                .make(algorithm.into(), current, body)
                .map(|token| match bare {
                    true => answer(StatusCode::OK, "text/plain; charset=utf-8", token),
                    false => json_answer(
                        StatusCode::OK,
                        &Made {
                            token: &token,
                            algorithm: algorithm.name(),
                        },
                    ),
                })
        }
        Question::Verify { token } => {
            let previous = secrets.previous.as_ref().map(Secret::expose);
            let secrets: Vec<_> = std::iter::once(current).chain(previous).collect();
            authenticator
                .verify(algorithm.into(), &secrets, body, token)
                .map(|valid| json_answer(StatusCode::OK, &Verified { valid }))
        }
    }
}

fn problem(fault: &Fault) -> Problem {
    match fault {
        // The work is in proportion to the body, which has its own limit: the machine is too busy.
        Fault::Deadline | Fault::Cancelled => Problem::overloaded(TIME, 1),
        Fault::Memory | Fault::KeysOverloaded | Fault::Trap(_) => {
            Problem::internal(format!("the token component ended early: {fault}"))
        }
    }
}

/// The hash under the HMAC, as settings name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TokenAlgorithm {
    /// For clients of an older service.
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl TokenAlgorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "HMAC-SHA1",
            Self::Sha256 => "HMAC-SHA256",
            Self::Sha384 => "HMAC-SHA384",
            Self::Sha512 => "HMAC-SHA512",
        }
    }
}

impl From<TokenAlgorithm> for Algorithm {
    fn from(algorithm: TokenAlgorithm) -> Self {
        match algorithm {
            TokenAlgorithm::Sha1 => Self::Sha1,
            TokenAlgorithm::Sha256 => Self::Sha256,
            TokenAlgorithm::Sha384 => Self::Sha384,
            TokenAlgorithm::Sha512 => Self::Sha512,
        }
    }
}
