//! Putting the relay together.

use super::Signing;
use super::store;
use super::world::{Outside, Upstream};
use crate::components::{ComponentSource, Slot, SlotContext};
use crate::config::signing::{STORE_PASSWORD, SigningSettings, millis};
use crate::secrets;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_outbound::{Outbound, Setup, Target};
use bulkhead_relay::{Relay, Settings, SigningComponents, WebhookSecret};
use bulkhead_sandbox::{
    ComponentMetrics, Description, GuestComponent as _, InstanceLimits, Pool, Refusal, RefusalKind,
    Sandbox, SetupError, SigningComponent, VerifyError, with_causes,
};
use bulkhead_store::BacklogMax;
use hyper::header::HeaderValue;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

const API_KEY: &str = "BULKHEAD_UPSTREAM_API_KEY";
const WEBHOOK_SECRET: &str = "BULKHEAD_WEBHOOK_SECRET";

/// Standard Webhooks 1.0, "Signature scheme": what a secret begins with.
const SECRET_PREFIX: &str = "whsec_";

/// The same wants at least so many octets.
const WEBHOOK_SECRET_OCTETS_MIN: usize = 24;

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
    /// None where no upstream is configured; else what is there, or everything that is wrong.
    fn of(settings: &SigningSettings) -> Option<Result<Self, Vec<String>>> {
        let url = settings.upstream_url.as_ref()?;
        let address = Target::upstream(url).map_err(|refusal| {
            format!(
                "--upstream-url (BULKHEAD_UPSTREAM_URL) cannot be used: {refusal}. Give one like \
                     https://api.example"
            )
        });
        let setup = Setup {
            ca_file: settings.store.ca_file.clone(),
            callback_allow: settings.callback_allow.clone(),
        };
        let outbound = Outbound::new(&setup).map_err(|error| store::cannot_set_up(&error));
        let api_key = api_key(settings.upstream_api_key_file.as_deref());
        let webhook_secret = webhook_secret(settings.webhook_secret_file.as_deref());
        let public_key = settings.public_key();
        let parts = (address, outbound, api_key, webhook_secret, public_key);
        Some(match parts {
            (Ok(address), Ok(outbound), Ok(api_key), Ok(webhook_secret), Ok(public_key)) => {
                Ok(Self {
                    address,
                    outbound: Arc::new(outbound),
                    api_key,
                    webhook_secret,
                    public_key,
                })
            }
            (address, outbound, api_key, webhook_secret, public_key) => {
                let problems = [
                    address.err(),
                    outbound.err(),
                    api_key.err(),
                    webhook_secret.err(),
                    public_key.err(),
                ];
                Err(problems.into_iter().flatten().collect())
            }
        })
    }
}

/// For `check-config`: which secrets there are, a line each and never what they are, and everything
/// that is wrong, as far as that shows without anything being made or anybody being asked.
pub(crate) fn check(settings: &SigningSettings) -> (String, Vec<String>) {
    let (api_key, webhook_secret, mut problems) = match Parts::of(settings) {
        None => return (String::new(), Vec::new()),
        Some(Ok(parts)) => (parts.api_key.is_some(), parts.webhook_secret, Vec::new()),
        Some(Err(problems)) => (false, None, problems),
    };
    problems.extend(settings.store.unusable());
    if let Ok(Some(key)) = settings.public_key() {
        problems.extend(no_key(settings, key));
    }
    let mut lines = String::new();
    // What is wrong with it is told with the store.
    let password = matches!(settings.store.password(), Ok(Some(_)));
    for (name, set) in [
        (API_KEY, api_key),
        (WEBHOOK_SECRET, webhook_secret.is_some()),
        (STORE_PASSWORD, password),
    ] {
        let set = if set { "(set)" } else { "(not set)" };
        lines += &[name, " ", set, "\n"].concat();
    }
    if webhook_secret.as_ref().is_some_and(is_weak) {
        let _infallible = writeln!(
            lines,
            "# {WEBHOOK_SECRET} has less than {WEBHOOK_SECRET_OCTETS_MIN} octets, which is weak"
        );
    }
    (lines, problems)
}

/// Why the component that every server starts with takes a public key for none.
fn no_key(settings: &SigningSettings, key: String) -> Option<String> {
    let sandbox = match Sandbox::new(&settings.sandbox(VERIFY_WORKERS)) {
        Ok(sandbox) => sandbox,
        Err(error) => return Some(with_causes(&error)),
    };
    let make = maker(
        sandbox,
        settings,
        Some(key),
        ComponentMetrics::unregistered(),
    );
    let refusal = make(ComponentSource::BuiltIn(bulkhead_artifacts::SIGNING)).err()?;
    Some(refusal.reason)
}

/// Loads the component, opens the store and starts the relay; none where no upstream is configured.
pub(crate) fn start(
    sandbox: &Sandbox,
    settings: &SigningSettings,
    context: &SlotContext<'_>,
) -> Result<Option<Signing>, String> {
    let metrics = context.metrics;
    let Some(parts) = Parts::of(settings) else {
        return Ok(None);
    };
    let Parts {
        address,
        outbound,
        api_key,
        webhook_secret,
        public_key,
    } = parts.map_err(|problems| problems.join("; "))?;
    if api_key.is_none() {
        tracing::warn!(name = API_KEY, "not set: calls are made without a key");
    }
    if webhook_secret.as_ref().is_some_and(is_weak) {
        tracing::warn!(
            name = WEBHOOK_SECRET,
            "a secret of less than {WEBHOOK_SECRET_OCTETS_MIN} octets is weak"
        );
    }
    let sandbox = self::sandbox(sandbox, settings).map_err(|error| with_causes(&error))?;
    let counted = metrics.component("signing");
    let make = maker(sandbox, settings, public_key.clone(), counted);
    let slot = Arc::new(Slot::new(bulkhead_artifacts::SIGNING, context, make)?);
    let cannot_start = |error: std::io::Error| format!("cannot start threads: {error}");
    let thread = RelayThread::start().map_err(cannot_start)?;
    let store = store::open(&settings.store, settings.quota(), &outbound)?;
    let pool = Pool::new(
        "verify",
        VERIFY_WORKERS.into(),
        VERIFY_WORKERS.into(),
        settings.verify_queue_max as usize,
    )
    .map_err(cannot_start)?;
    metrics.watch("verify", pool.waiting());
    let upstream = Upstream {
        address,
        api_key,
        answer_octets: settings.upstream_answer_octets,
    };
    let world = Outside::new(Arc::clone(&outbound), upstream, thread.handle.clone());
    let relay = Relay::start(
        Arc::new(world),
        store,
        InSlot(Arc::clone(&slot)),
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
    Ok(Some(Signing {
        slot,
        relay,
        outbound,
        pool,
        public_key: public_key.map(Into::into),
        message_octets: settings.message_octets,
        sign_ms: millis(settings.sign_timeout).into(),
        store: settings.store.place.kind(),
        _thread: thread,
    }))
}

/// The engine of the signing component.
pub(crate) fn sandbox(
    sandbox: &Sandbox,
    settings: &SigningSettings,
) -> Result<Sandbox, SetupError> {
    sandbox.beside(&settings.sandbox(VERIFY_WORKERS))
}

/// The relay uses the component in the slot.
struct InSlot(Arc<Slot<Arc<SigningComponent>>>);

impl SigningComponents for InSlot {
    fn current(&self) -> Arc<SigningComponent> {
        Arc::clone(&self.0.borrow().component)
    }
}

/// Prepares a signing component, and checks the public key with it if there is one.
pub(crate) fn maker(
    sandbox: Sandbox,
    settings: &SigningSettings,
    public_key: Option<String>,
    metrics: ComponentMetrics,
) -> impl Fn(ComponentSource<'_>) -> Result<(Arc<SigningComponent>, Description), Refusal>
+ Send
+ Sync
+ 'static {
    let limits = InstanceLimits {
        memory_octets: settings.signing_memory_octets,
        time: settings.signing_timeout,
    };
    move |source| {
        let component =
            SigningComponent::new(&sandbox, &source.load(&sandbox)?, limits, metrics.clone())?;
        let description = source.admit(&component)?;
        if let Some(key) = &public_key {
            check_key(&component, key)
                .map_err(|why| Refusal::new(RefusalKind::KnownAnswers, why))?;
        }
        Ok((Arc::new(component), description))
    }
}

/// A key that nothing verifies under would make every signature a failed try.
fn check_key(component: &SigningComponent, key: &str) -> Result<(), String> {
    let claim = bulkhead_sandbox::Claim {
        message: "is this a key?".into(),
        signature: String::new(),
    };
    let of_no_use = |why: String| {
        format!(
            "--upstream-public-key (BULKHEAD_UPSTREAM_PUBLIC_KEY) is not a public key of RSA: {why}"
        )
    };
    match component.verify(&claim, key) {
        Ok(_) => Ok(()),
        Err(VerifyError::Key(why)) => Err(of_no_use(why)),
        Err(VerifyError::Fault(fault)) => Err(of_no_use(fault.to_string())),
    }
}

/// The key goes bare into `Authorization`.
fn api_key(file: Option<&Path>) -> Result<Option<HeaderValue>, String> {
    let Some(key) = secrets::named(API_KEY, file)? else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_bytes(key.expose()).map_err(|_| {
        format!("{API_KEY} has octets that a header cannot have, a line end perhaps")
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn webhook_secret(file: Option<&Path>) -> Result<Option<WebhookSecret>, String> {
    let Some(secret) = secrets::named(WEBHOOK_SECRET, file)? else {
        return Ok(None);
    };
    let wrong = || {
        format!("{WEBHOOK_SECRET} is not {SECRET_PREFIX} and base64, as Standard Webhooks has it")
    };
    let text = std::str::from_utf8(secret.expose()).map_err(|_| wrong())?;
    let text = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
    let octets = Zeroizing::new(STANDARD.decode(text).map_err(|_| wrong())?);
    // What `whsec_$UNSET` becomes: anybody could sign with it.
    if octets.is_empty() {
        return Err(format!(
            "{WEBHOOK_SECRET} has nothing behind {SECRET_PREFIX}, which makes an empty key. Set it, to \
             {SECRET_PREFIX} and at least {WEBHOOK_SECRET_OCTETS_MIN} random octets in base64, or unset it"
        ));
    }
    Ok(Some(WebhookSecret(octets)))
}

fn is_weak(secret: &WebhookSecret) -> bool {
    secret.0.len() < WEBHOOK_SECRET_OCTETS_MIN
}

/// A thread with a scheduler of its own: what waits for the upstream and for receivers never stands
/// in the way of requests. It ends when this is dropped, with whatever runs on it.
pub(super) struct RelayThread {
    handle: Handle,
    _until_dropped: oneshot::Sender<()>,
}

impl RelayThread {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || {
                let _dropped = runtime.block_on(receiver);
                // Resolvers may hang in a call of the system.
                runtime.shutdown_timeout(Duration::ZERO);
            })?;
        Ok(Self {
            handle,
            _until_dropped: sender,
        })
    }
}
