//! Putting the relay together.

use super::environment::{RealEnvironment, Upstream};
use super::settings::{PUBLIC_KEY, SigningSettings};
use super::store_settings::STORE_PASSWORD;
use super::{DEFINITION, Signing, State, store};
use crate::capabilities::{AdmissionError, Context, Inspection, StartError};
use crate::components::{ActiveComponent, Admitted, ComponentSource};
use crate::config::secrets::{self, SecretError, set_or_not};
use crate::config::units::millis;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_http::{RuntimeThread, setting};
use bulkhead_outbound::{Outbound, Setup, Target};
use bulkhead_relay::{Relay, Settings, SigningComponents, WebhookSecret};
use bulkhead_sandbox::{
    Claim, Description, GuestComponent as _, InstanceLimits, Refusal, RefusalKind,
    SigningComponent, VerifyError,
};
use bulkhead_store::BacklogMax;
use hyper::header::HeaderValue;
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

const API_KEY: &str = "BULKHEAD_UPSTREAM_API_KEY";
const WEBHOOK_SECRET: &str = "BULKHEAD_WEBHOOK_SECRET";

/// Standard Webhooks 1.0, "Signature scheme": what a secret begins with.
const SECRET_PREFIX: &str = "whsec_";

/// The same wants at least so many octets.
const WEBHOOK_SECRET_BYTES_MIN: usize = 24;

/// The store is looked into this often, for what other replicas and the command line put there.
const LOOK_AGAIN_MS: u64 = 1000;

/// Threads that verify under the public key.
const VERIFY_WORKERS: u16 = 1;

/// What settings and secrets come to, without anything being opened.
struct Parts {
    address: Target,
    outbound: Arc<Outbound>,
    api_key: Option<HeaderValue>,
    webhook_secret: Option<WebhookSecret>,
    public_key: Option<String>,
}

impl Parts {
    /// `None` if no upstream is configured; else the parts, or everything that is wrong.
    fn of(settings: &SigningSettings) -> Option<Result<Self, Vec<String>>> {
        let url = settings.upstream_url.as_ref()?;
        let mut problems = Vec::new();
        let address = Target::upstream(url).map_err(|refusal| {
            format!(
                "{} cannot be used: {refusal}. Give one like https://api.example",
                setting!(SigningSettings, upstream_url)
            )
        });
        let setup = Setup {
            ca_file: settings.store.ca_file.clone(),
            callback_allow: settings.callback_allow.clone(),
        };
        let outbound = Outbound::new(&setup).map_err(|error| store::outbound_problem(&error));
        let address = checked(address, &mut problems);
        let outbound = checked(outbound, &mut problems);
        let api_key = checked(
            api_key(settings.upstream_api_key_file.as_deref()),
            &mut problems,
        );
        let webhook_secret = checked(
            webhook_secret(settings.webhook_secret_file.as_deref()),
            &mut problems,
        );
        let public_key = checked(settings.public_key(), &mut problems);
        let parts = || {
            Some(Self {
                address: address?,
                outbound: Arc::new(outbound?),
                api_key: api_key?,
                webhook_secret: webhook_secret?,
                public_key: public_key?,
            })
        };
        Some(parts().ok_or(problems))
    }
}

fn checked<T>(result: Result<T, impl ToString>, problems: &mut Vec<String>) -> Option<T> {
    result
        .map_err(|error| problems.push(error.to_string()))
        .ok()
}

/// For `check-config`: which secrets there are, and everything that is wrong, as far as that shows without
/// anything being made or a call.
pub(super) fn inspect(context: &Context<'_>) -> Inspection {
    let settings = &context.settings.signing;
    let (api_key, webhook_secret, mut problems) = match Parts::of(settings) {
        None => return Inspection::default(),
        Some(Ok(parts)) => (parts.api_key.is_some(), parts.webhook_secret, Vec::new()),
        Some(Err(problems)) => (false, None, problems),
    };
    problems.extend(settings.store.unusable());
    // What is wrong with the file of the key is among the problems already.
    if matches!(settings.public_key(), Ok(Some(_)))
        && let Err(AdmissionError::Rejected(refusal)) =
            admit(context, ComponentSource::BuiltIn(DEFINITION.artifact))
    {
        problems.push(refusal.reason);
    }
    // What is wrong with the password is a problem of the store.
    let password = matches!(settings.store.password(), Ok(Some(_)));
    let mut secrets = vec![
        set_or_not(API_KEY, api_key),
        set_or_not(WEBHOOK_SECRET, webhook_secret.is_some()),
        set_or_not(STORE_PASSWORD, password),
    ];
    if webhook_secret.as_ref().is_some_and(is_weak) {
        secrets.push(format!(
            "# {WEBHOOK_SECRET} has less than {WEBHOOK_SECRET_BYTES_MIN} octets, which is weak"
        ));
    }
    Inspection {
        secrets,
        problems,
        ..Inspection::default()
    }
}

impl State {
    /// Loads the component, opens the store and starts the relay, if an upstream is configured.
    pub(crate) fn start(context: &Context<'_>) -> Result<Self, StartError> {
        let signing = Parts::of(&context.settings.signing)
            .map(|parts| start(context, parts.map_err(StartError::Settings)?));
        Ok(Self(signing.transpose()?))
    }
}

fn start(context: &Context<'_>, parts: Parts) -> Result<Signing, StartError> {
    let (settings, metrics) = (&context.settings.signing, context.metrics);
    let Parts {
        address,
        outbound,
        api_key,
        webhook_secret,
        public_key,
    } = parts;
    if api_key.is_none() {
        tracing::warn!(name = API_KEY, "not set: calls are made without a key");
    }
    if webhook_secret.as_ref().is_some_and(is_weak) {
        tracing::warn!(
            name = WEBHOOK_SECRET,
            "a secret of less than {WEBHOOK_SECRET_BYTES_MIN} octets is weak"
        );
    }
    let component = context.component(DEFINITION.artifact, maker(context, public_key.clone())?)?;
    let thread = RuntimeThread::start("relay")?;
    let store = store::open(&settings.store, settings.quota(), &outbound)?;
    let queue_max = settings.verify_queue_max;
    let pool = context.pool("verify", VERIFY_WORKERS, VERIFY_WORKERS, queue_max)?;
    let upstream = Upstream {
        address,
        api_key,
        answer_octets: settings.upstream_answer_max.as_usize(),
    };
    let environment =
        RealEnvironment::new(Arc::clone(&outbound), upstream, thread.handle().clone());
    let relay = Relay::start(
        Arc::new(environment),
        store,
        InForce(Arc::clone(&component)),
        Settings {
            quota: settings.quota(),
            checks_max: settings.checks_max(),
            backlog_max: BacklogMax {
                messages: settings.backlog_max,
                callers: settings.callers_max,
            },
            public_key: public_key.clone(),
            webhook_secret,
            webhook_ms: millis(settings.webhook_timeout),
            webhooks_max: settings.webhooks_max,
            webhooks_per_host_max: settings.webhooks_per_host_max,
            retention_ms: u64::try_from(settings.retention.as_millis()).unwrap_or(u64::MAX),
            look_again_ms: LOOK_AGAIN_MS,
        },
        metrics.relay.clone(),
    );
    Ok(Signing {
        component,
        relay,
        outbound,
        pool,
        public_key: public_key.map(Into::into),
        message_max: settings.message_max,
        sign_ms: millis(settings.sign_timeout).into(),
        store: settings.store.store.kind(),
        _thread: thread,
    })
}

/// What a server would say to a component. It needs no upstream for that.
pub(super) fn admit(
    context: &Context<'_>,
    source: ComponentSource<'_>,
) -> Result<Description, AdmissionError> {
    let public_key = context.settings.signing.public_key();
    let public_key = public_key.map_err(|error| StartError::Settings(vec![error.to_string()]))?;
    Ok(maker(context, public_key)?(source)?.1)
}

/// The relay uses the active component.
struct InForce(Arc<ActiveComponent<Arc<SigningComponent>>>);

impl SigningComponents for InForce {
    fn current(&self) -> Arc<SigningComponent> {
        Arc::clone(&self.0.borrow().component)
    }
}

/// Makes a component ready, under the public key if there is one.
fn maker(
    context: &Context<'_>,
    public_key: Option<String>,
) -> Result<
    impl Fn(ComponentSource<'_>) -> Admitted<Arc<SigningComponent>> + Send + Sync + use<>,
    StartError,
> {
    let settings = &context.settings.signing;
    let memory_max = settings.signing_memory_max.as_usize();
    // For the relay's one thread, and those that verify.
    let sandbox = context.sandbox(memory_max, u32::from(1 + VERIFY_WORKERS))?;
    let metrics = context.metrics.component(DEFINITION.artifact.name);
    let limits = InstanceLimits {
        memory_octets: memory_max,
        time: settings.signing_timeout,
    };
    Ok(move |source: ComponentSource<'_>| {
        let (component, description) = source.admit(&sandbox, |loaded| {
            SigningComponent::new(&sandbox, loaded, limits, metrics.clone())
        })?;
        if let Some(key) = &public_key {
            check_key(&component, key)?;
        }
        Ok((Arc::new(component), description))
    })
}

/// A key under which nothing verifies would make every signature a failed attempt.
fn check_key(component: &SigningComponent, key: &str) -> Result<(), Refusal> {
    let claim = Claim {
        message: "is this a key?".into(),
        signature: String::new(),
    };
    let unusable = |why: String| {
        let why = format!("{PUBLIC_KEY} is not a public key of RSA: {why}");
        Refusal::new(RefusalKind::KnownAnswers, why)
    };
    match component.verify(&claim, key) {
        Ok(_) => Ok(()),
        Err(VerifyError::Key(why)) => Err(unusable(why)),
        Err(VerifyError::Fault(fault)) => Err(unusable(fault.to_string())),
    }
}

/// The key is the whole value of `Authorization`.
fn api_key(file: Option<&Path>) -> Result<Option<HeaderValue>, SecretError> {
    let Some(key) = secrets::named(API_KEY, file)? else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_bytes(key.expose()).map_err(|_| SecretError::Malformed {
        name: API_KEY,
        problem: "has octets that a header cannot have, a line end perhaps".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn webhook_secret(file: Option<&Path>) -> Result<Option<WebhookSecret>, SecretError> {
    let Some(secret) = secrets::named(WEBHOOK_SECRET, file)? else {
        return Ok(None);
    };
    let malformed = |problem: String| SecretError::Malformed {
        name: WEBHOOK_SECRET,
        problem,
    };
    let text = std::str::from_utf8(secret.expose()).ok();
    let text = text.map(|text| text.strip_prefix(SECRET_PREFIX).unwrap_or(text));
    let bytes = text.and_then(|text| STANDARD.decode(text).ok());
    let bytes = bytes.map(Zeroizing::new).ok_or_else(|| {
        malformed(format!(
            "is not {SECRET_PREFIX} and base64, as Standard Webhooks has it"
        ))
    })?;
    // What `whsec_$UNSET` becomes: anybody could sign with it.
    if bytes.is_empty() {
        return Err(malformed(format!(
            "has nothing behind {SECRET_PREFIX}, which makes an empty key. Set it, to {SECRET_PREFIX} and at \
             least {WEBHOOK_SECRET_BYTES_MIN} random octets in base64, or unset it"
        )));
    }
    Ok(Some(WebhookSecret(bytes)))
}

fn is_weak(secret: &WebhookSecret) -> bool {
    secret.0.len() < WEBHOOK_SECRET_BYTES_MIN
}
