//! Builds the signing relay from the settings.

use super::environment::{RealEnvironment, Upstream};
use super::secrets::{self, ActiveSecrets, SigningSecrets};
use super::settings::{PUBLIC_KEY, SigningSettings};
use super::store_settings::STORE_PASSWORD;
use super::{DEFINITION, Signing, State, store};
use crate::capabilities::{AdmissionError, Context, Inspection, StartError};
use crate::components::{ActiveComponent, ComponentSource, Make};
use crate::config::secrets::set_or_not;
use crate::config::units::millis;
use bulkhead_http::{RuntimeThread, setting};
use bulkhead_outbound::{Outbound, Setup, Target};
use bulkhead_relay::{Relay, Settings, SigningComponents};
use bulkhead_sandbox::{
    Description, InstanceLimits, Rejection, RejectionKind, SignedMessage, SigningComponent,
    VerifyError,
};
use bulkhead_store::BacklogMax;
use std::sync::Arc;

/// Interval between two reads of the store, in milliseconds. They find changes by other replicas and by the
/// command line.
const LOOK_AGAIN_MS: u64 = 1000;

/// Number of threads that verify under the public key.
const VERIFY_WORKERS: u16 = 1;

/// The parts of the relay that follow from settings and secrets. No store is opened for them.
struct Parts {
    address: Target,
    outbound: Arc<Outbound>,
    secrets: SigningSecrets,
    public_key: Option<String>,
}

impl Parts {
    /// Returns `None` if no upstream is configured. Otherwise returns the parts, or all error texts.
    fn of(settings: &SigningSettings) -> Option<Result<Self, Vec<String>>> {
        let url = settings.upstream_url.as_ref()?;
        let mut problems = Vec::new();
        let address = Target::upstream(url).map_err(|rejection| {
            format!(
                "{} cannot be used: {rejection}. Set an address such as https://api.example",
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
        let secrets = SigningSecrets::load(settings)
            .map_err(|errors| problems.extend(errors.iter().map(ToString::to_string)))
            .ok();
        let public_key = checked(settings.public_key(), &mut problems);
        let parts = || {
            Some(Self {
                address: address?,
                outbound: Arc::new(outbound?),
                secrets: secrets?,
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
    let (parts, mut problems) = match Parts::of(settings) {
        None => return Inspection::default(),
        Some(Ok(parts)) => (Some(parts), Vec::new()),
        Some(Err(problems)) => (None, problems),
    };
    problems.extend(settings.store.unusable());
    // `Parts::of` has reported an unreadable key file.
    if matches!(settings.public_key(), Ok(Some(_)))
        && let Err(AdmissionError::Rejected(rejection)) =
            admit(context, ComponentSource::BuiltIn(DEFINITION.artifact))
    {
        problems.push(rejection.reason);
    }
    // `StoreSettings::contradictions` reports an unusable password.
    let password = matches!(settings.store.password(), Ok(Some(_)));
    let mut secrets = secrets::inspect(settings, parts.as_ref().map(|parts| &parts.secrets));
    secrets.push(set_or_not(STORE_PASSWORD, password));
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
        secrets,
        public_key,
    } = parts;
    secrets.warn(settings);
    let component = context.component(DEFINITION.artifact, maker(context, public_key.clone())?)?;
    let thread = RuntimeThread::start("relay")?;
    let store = store::open(&settings.store, settings.quota(), &outbound)?;
    let queue_max = settings.verify_queue_max;
    let pool = context.pool("verify", VERIFY_WORKERS, VERIFY_WORKERS, queue_max)?;
    let active = ActiveSecrets::default();
    active.replace(secrets);
    let upstream = Upstream {
        address,
        api_key: Arc::clone(&active.api_key),
        response_bytes_max: settings.upstream_response_max.as_usize(),
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
                owned: None,
            },
            public_key: public_key.clone(),
            webhook_secrets: active.webhook.clone(),
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
        settings: settings.clone(),
        secrets: active,
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
) -> Result<Make<Arc<SigningComponent>>, StartError> {
    let settings = &context.settings.signing;
    let limits = InstanceLimits {
        memory_bytes: settings.signing_memory_max.as_usize(),
        time: settings.signing_timeout,
    };
    // One instance for the relay's thread, and one for each thread that verifies.
    let make = context.maker(
        DEFINITION.artifact.name,
        1 + u32::from(VERIFY_WORKERS),
        limits,
    )?;
    Ok(Box::new(move |source| {
        let (component, description) = make(source)?;
        if let Some(key) = &public_key {
            check_key(&component, key)?;
        }
        Ok((Arc::new(component), description))
    }))
}

/// Rejects an unusable key, because every signature would fail under it.
fn check_key(component: &SigningComponent, key: &str) -> Result<(), Rejection> {
    let signed = SignedMessage {
        message: "is this a key?".into(),
        signature: String::new(),
    };
    let unusable = |why: String| {
        let why = format!("{PUBLIC_KEY} is not an RSA public key: {why}");
        Rejection::new(RejectionKind::KnownAnswers, why)
    };
    match component.verify(&signed, key) {
        Ok(_) => Ok(()),
        Err(VerifyError::Key(why)) => Err(unusable(why)),
        Err(VerifyError::Fault(fault)) => Err(unusable(fault.to_string())),
    }
}
