//! `POST /token` and `POST /token/verify`.

use crate::config::TokenSettings;
use crate::health::{Capability, ComponentState};
use crate::http::{Answer, answer, json_answer, wanted};
use crate::metrics::Metrics;
use crate::problem::{Limited, Problem};
use crate::room::RequestBody;
use crate::secrets::{Secret, Secrets};
use bulkhead_sandbox::{Algorithm, Authenticator, Fault, InstanceLimits, Lanes, Pool, Sandbox};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::oneshot;

/// The header that carries a token to be checked.
pub(crate) const TOKEN: &str = "bulkhead-token";

/// What a call on an I/O thread may take: some microseconds are usual, and nothing else happens on
/// that thread meanwhile.
const INLINE_TIME: Duration = Duration::from_millis(100);

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
    pub(crate) component: ComponentState,
    /// For small bodies, called where the request was read: one for each I/O thread.
    inline: Lanes<Authenticator>,
    /// For the others, on threads of their own.
    pooled: Arc<Authenticator>,
    pool: Pool,
    secrets: RwLock<Option<Arc<Secrets>>>,
    settings: TokenSettings,
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
        metrics: &Metrics,
    ) -> Result<Self, String> {
        let counted = metrics.component("token");
        let artifact = bulkhead_artifacts::TOKEN;
        let load = |sandbox: &Sandbox| sandbox.load(artifact.wasm, Some(artifact.precompiled));
        let loaded = load(sandbox)?;
        let limits = |time| InstanceLimits {
            memory_octets: settings.memory_octets,
            time,
        };
        let pool = Pool::new(
            "token",
            settings.workers.into(),
            settings.queue_max as usize,
        )
        .map_err(|error| format!("cannot start worker threads: {error}"))?;
        metrics.watch("token", pool.waiting());
        let inline = inline
            .iter()
            .map(|sandbox| {
                let limits = limits(INLINE_TIME);
                Authenticator::new(sandbox, &load(sandbox)?, limits, counted.clone())
            })
            .collect::<Result<_, String>>()?;
        let pooled = Authenticator::new(sandbox, &loaded, limits(settings.timeout), counted)?;
        let description = pooled
            .describe()
            .map_err(|fault| format!("the token component does not answer: {fault}"))?;
        let token = Self {
            component: ComponentState::new(description, &loaded),
            inline: Lanes::new(inline),
            pooled: Arc::new(pooled),
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
            return ask(self.inline.mine(), algorithm, &secrets, &body, &question);
        }
        let (sender, receiver) = oneshot::channel();
        let pooled = Arc::clone(&self.pooled);
        self.pool
            .submit(move || {
                let answer = ask(&pooled, algorithm, &secrets, &body, &question);
                // Nobody there any more: the client hung up.
                let _gone = sender.send(answer);
            })
            .map_err(|_| Problem::overloaded(QUEUE, 1))?;
        receiver
            .await
            .unwrap_or_else(|_| Err(Problem::internal("the job for the token panicked")))
    }
}

fn ask(
    authenticator: &Authenticator,
    algorithm: TokenAlgorithm,
    secrets: &Secrets,
    body: &[u8],
    question: &Question,
) -> Result<Answer, Problem> {
    let current = secrets.current.expose();
    let answered = match question {
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
    };
    answered.map_err(|fault| match fault {
        // The work is in proportion to the body, which has its own limit: the machine is too busy.
        Fault::Deadline | Fault::Interrupted => Problem::overloaded(TIME, 1),
        Fault::Memory | Fault::Trap(_) => {
            Problem::internal(format!("the token component ended early: {fault}"))
        }
    })
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
