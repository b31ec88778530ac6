//! Builds the signing relay from the settings.

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

/// The prefix of a secret (Standard Webhooks 1.0, "Signature scheme").
const SECRET_PREFIX: &str = "whsec_";

/// The minimum size of a secret, in bytes (as above).
const WEBHOOK_SECRET_BYTES_MIN: usize = 24;

/// Interval between two reads of the store, in milliseconds. They find changes by other replicas and by the
/// command line.
const LOOK_AGAIN_MS: u64 = 1000;

/// Number of threads that verify under the public key.
const VERIFY_WORKERS: u16 = 1;

/// The parts of the relay that follow from settings and secrets. No store is opened for them.
struct Parts {
    address: Target,
    outbound: Arc<Outbound>,
    api_key: Option<HeaderValue>,
    webhook_secret: Option<WebhookSecret>,
    public_key: Option<String>,
}

impl Parts {
    /// Returns `None` if no upstream is configured. Otherwise returns the parts, or all error texts.
    fn of(settings: &SigningSettings) -> Option<Result<Self, Vec<String>>> {
        let url = settings.upstream_url.as_ref()?;
        let mut problems = Vec::new();
        let address = Target::upstream(url).map_err(|refusal| {
            format!(
                "{} cannot be used: {refusal}. Set an address such as https://api.example",
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

/// Returns the output of `check-config`: the secrets that are set, and all problems. Creates no file and
/// makes no call.
pub(super) fn inspect(context: &Context<'_>) -> Inspection {
    let settings = &context.settings.signing;
    let (api_key, webhook_secret, mut problems) = match Parts::of(settings) {
        None => return Inspection::default(),
        Some(Ok(parts)) => (parts.api_key.is_some(), parts.webhook_secret, Vec::new()),
        Some(Err(problems)) => (false, None, problems),
    };
    problems.extend(settings.store.unusable());
    // `Parts::of` has reported an unreadable key file.
    if matches!(settings.public_key(), Ok(Some(_)))
        && let Err(AdmissionError::Rejected(refusal)) =
            admit(context, ComponentSource::BuiltIn(DEFINITION.artifact))
    {
        problems.push(refusal.reason);
    }
    // `StoreSettings::contradictions` reports an unusable password.
    let password = matches!(settings.store.password(), Ok(Some(_)));
    let mut secrets = vec![
        set_or_not(API_KEY, api_key),
        set_or_not(WEBHOOK_SECRET, webhook_secret.is_some()),
        set_or_not(STORE_PASSWORD, password),
    ];
    secrets.extend(
        secret_warnings(settings)
            .into_iter()
            .map(|line| "# ".to_owned() + &line),
    );
    if webhook_secret.as_ref().is_some_and(is_weak) {
        secrets.push(format!(
            "# {WEBHOOK_SECRET} has fewer than {WEBHOOK_SECRET_BYTES_MIN} bytes, which is weak"
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
    ///
    /// # Errors
    /// [`StartError`] if a setting, a secret, the component, the store or a thread cannot be used.
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
        tracing::warn!(
            name = API_KEY,
            "not set: calls to the signing API have no key"
        );
    }
    for warning in secret_warnings(settings) {
        tracing::warn!(warning, "secret is unusual");
    }
    if webhook_secret.as_ref().is_some_and(is_weak) {
        tracing::warn!(
            name = WEBHOOK_SECRET,
            "secret is weak: it has fewer than {WEBHOOK_SECRET_BYTES_MIN} bytes"
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
        answer_octets: settings.upstream_response_max.as_usize(),
    };
    let environment =
        RealEnvironment::new(Arc::clone(&outbound), upstream, thread.handle().clone());
    let relay = Relay::start(
        Arc::new(environment),
        store,
        ActiveSigningComponent(Arc::clone(&component)),
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
            poll_ms: LOOK_AGAIN_MS,
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

/// Checks a component as a server does before the component becomes active. Needs no upstream.
pub(super) fn admit(
    context: &Context<'_>,
    source: ComponentSource<'_>,
) -> Result<Description, AdmissionError> {
    let public_key = context.settings.signing.public_key();
    let public_key = public_key.map_err(|error| StartError::Settings(vec![error.to_string()]))?;
    Ok(maker(context, public_key)?(source)?.1)
}

/// Gives the active component to the relay.
struct ActiveSigningComponent(Arc<ActiveComponent<Arc<SigningComponent>>>);

impl SigningComponents for ActiveSigningComponent {
    fn current(&self) -> Arc<SigningComponent> {
        Arc::clone(&self.0.borrow().component)
    }
}

/// Returns a function that prepares a component, and checks the public key with it if one is set.
fn maker(
    context: &Context<'_>,
    public_key: Option<String>,
) -> Result<
    impl Fn(ComponentSource<'_>) -> Admitted<Arc<SigningComponent>> + Send + Sync + use<>,
    StartError,
> {
    let settings = &context.settings.signing;
    let memory_max = settings.signing_memory_max.as_usize();
    // One instance for the relay's thread, and one for each thread that verifies.
    let sandbox = context.sandbox(memory_max, u32::from(1 + VERIFY_WORKERS))?;
    let metrics = context.metrics.component(DEFINITION.artifact.name);
    let limits = InstanceLimits {
        memory_bytes: memory_max,
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

/// Rejects an unusable key, because every signature would fail under it.
fn check_key(component: &SigningComponent, key: &str) -> Result<(), Refusal> {
    let claim = Claim {
        message: "is this a key?".into(),
        signature: String::new(),
    };
    let unusable = |why: String| {
        let why = format!("{PUBLIC_KEY} is not an RSA public key: {why}");
        Refusal::new(RefusalKind::KnownAnswers, why)
    };
    match component.verify(&claim, key) {
        Ok(_) => Ok(()),
        Err(VerifyError::Key(why)) => Err(unusable(why)),
        Err(VerifyError::Fault(fault)) => Err(unusable(fault.to_string())),
    }
}

/// Returns the API key, which is the whole value of `Authorization`.
fn api_key(file: Option<&Path>) -> Result<Option<HeaderValue>, SecretError> {
    let Some(key) = secrets::named(API_KEY, file)? else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_bytes(key.expose()).map_err(|_| SecretError::Malformed {
        name: API_KEY,
        problem: "contains bytes that a header cannot contain, such as a line end. Remove them"
            .to_owned(),
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
            "is malformed. Set it to {SECRET_PREFIX} and at least {WEBHOOK_SECRET_BYTES_MIN} random bytes \
             in base64"
        ))
    })?;
    // `whsec_$UNSET` expands to this. Anybody could sign with an empty key.
    if bytes.is_empty() {
        return Err(malformed(format!(
            "has no key after {SECRET_PREFIX}. Set it to {SECRET_PREFIX} and at least \
             {WEBHOOK_SECRET_BYTES_MIN} random bytes in base64, or unset it"
        )));
    }
    Ok(Some(WebhookSecret(bytes)))
}

/// Returns warnings about the secrets of the relay.
fn secret_warnings(settings: &SigningSettings) -> Vec<String> {
    secrets::warnings(&[
        (API_KEY, settings.upstream_api_key_file.as_deref()),
        (WEBHOOK_SECRET, settings.webhook_secret_file.as_deref()),
        (
            STORE_PASSWORD,
            settings.store.store_password_file.as_deref(),
        ),
    ])
}

fn is_weak(secret: &WebhookSecret) -> bool {
    secret.0.len() < WEBHOOK_SECRET_BYTES_MIN
}
