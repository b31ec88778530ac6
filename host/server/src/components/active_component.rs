//! The component in force of one capability, which can be replaced at any time.

use super::metrics::ComponentEvents;
use arc_swap::ArcSwap;
use bulkhead_artifacts::Artifact;
use bulkhead_http::Response;
use bulkhead_sandbox::{
    Compiled, Description, GuestComponent, Loaded, Refusal, Sandbox, sha256, verify,
};
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Who made an answer.
const HEADER: HeaderName = HeaderName::from_static("bulkhead-component");

/// A component with what is shown of it. A request keeps the one it began with.
pub(crate) struct InForce<T> {
    pub(crate) component: T,
    identity: Identity,
}

impl<T> InForce<T> {
    /// A response that says which component made it, if the operator wants that.
    pub(crate) fn attributed(&self, mut response: Response) -> Response {
        if let Some(header) = &self.identity.header {
            response.headers_mut().insert(HEADER, header.clone());
        }
        response
    }
}

/// Who a component is, and since when.
struct Identity {
    description: Description,
    sha256: [u8; 32],
    built_in: bool,
    since: SystemTime,
    header: Option<HeaderValue>,
}

/// Why a file is not taken.
#[derive(PartialEq, Eq)]
pub(crate) struct Rejection {
    /// `None` if the file could not be read.
    pub(crate) sha256: Option<[u8; 32]>,
    /// For programs.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) reason: String,
}

/// Where a slot gets its component from.
#[derive(Clone, Copy)]
pub(crate) enum ComponentSource<'a> {
    /// What ships with the binary.
    BuiltIn(Artifact),
    /// A file, compiled.
    File(&'a Compiled),
}

impl ComponentSource<'_> {
    pub(crate) fn load(self, sandbox: &Sandbox) -> Result<Loaded, Refusal> {
        match self {
            Self::BuiltIn(artifact) => sandbox.load(artifact.wasm, Some(artifact.precompiled)),
            Self::File(compiled) => sandbox.load_compiled(compiled),
        }
    }

    /// Loads it, makes it ready and has it describe itself. A file must pass its checks first; a component
    /// that ships with the binary passed them in our tests.
    pub(crate) fn admit<R: GuestComponent>(
        self,
        sandbox: &Sandbox,
        ready: impl FnOnce(&Loaded) -> Result<R, Refusal>,
    ) -> Admitted<R> {
        let ready = ready(&self.load(sandbox)?)?;
        let description = match self {
            Self::BuiltIn(_) => ready.describe().map_err(|fault| Refusal::silent(&fault))?,
            Self::File(_) => verify(&ready)?,
        };
        Ok((ready, description))
    }

    fn sha256(self) -> [u8; 32] {
        match self {
            Self::BuiltIn(artifact) => sha256(artifact.wasm),
            Self::File(compiled) => compiled.sha256(),
        }
    }
}

/// A component that is ready, with what it says of itself.
pub(crate) type Admitted<T> = Result<(T, Description), Refusal>;

/// How a component is made ready for a slot.
type Make<T> = Box<dyn Fn(ComponentSource<'_>) -> Admitted<T> + Send + Sync>;

/// The component in force, and how another takes its place.
pub(crate) struct ActiveComponent<T> {
    built_in: Artifact,
    in_force: ArcSwap<InForce<T>>,
    make: Make<T>,
    header: bool,
    rejected: Mutex<Option<(Rejection, SystemTime)>>,
    events: ComponentEvents,
}

impl<T: Send + Sync> ActiveComponent<T> {
    /// Filled with the component that ships with the binary. `header` is whether responses say which component
    /// made them.
    pub(crate) fn new(
        artifact: Artifact,
        header: bool,
        events: ComponentEvents,
        make: impl Fn(ComponentSource<'_>) -> Admitted<T> + Send + Sync + 'static,
    ) -> Result<Self, Refusal> {
        let make: Make<T> = Box::new(make);
        let first = fill(&make, ComponentSource::BuiltIn(artifact), header)?;
        events.begin(&first.identity.label());
        Ok(Self {
            built_in: artifact,
            in_force: ArcSwap::from_pointee(first),
            make,
            header,
            rejected: Mutex::new(None),
            events,
        })
    }

    /// The component to begin a request with, and to end it.
    pub(crate) fn current(&self) -> Arc<InForce<T>> {
        self.in_force.load_full()
    }

    /// The same for what does not wait in between.
    pub(crate) fn borrow(&self) -> arc_swap::Guard<Arc<InForce<T>>> {
        self.in_force.load()
    }

    fn put(&self, source: ComponentSource<'_>) -> Result<(), Refusal> {
        let next = fill(&self.make, source, self.header)?;
        let before = self.borrow().identity.label();
        self.events.exchanged(&before, &next.identity.label());
        tracing::info!(
            component = self.built_in.name,
            version = next.identity.description.version,
            sha256 = base16ct::lower::encode_string(&next.identity.sha256),
            source = next.identity.source(),
            "component in force"
        );
        // First, so that nobody sees the new one beside the refusal of another.
        *self.rejected() = None;
        self.in_force.store(Arc::new(next));
        Ok(())
    }

    fn rejected(&self) -> MutexGuard<'_, Option<(Rejection, SystemTime)>> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fill<T>(
    make: &Make<T>,
    source: ComponentSource<'_>,
    header: bool,
) -> Result<InForce<T>, Refusal> {
    let (component, description) = make(source)?;
    let sha256 = source.sha256();
    let built_in = matches!(source, ComponentSource::BuiltIn(_));
    Ok(InForce {
        component,
        identity: Identity::new(description, sha256, built_in, header),
    })
}

impl Identity {
    fn new(description: Description, sha256: [u8; 32], built_in: bool, header: bool) -> Self {
        let name = format!(
            "{}/{}; sha256={}",
            description.name,
            description.version,
            base16ct::lower::encode_string(&sha256)
        );
        Self {
            // Descriptions have no control characters, but they may be in any script.
            header: header.then(|| {
                HeaderValue::from_str(&name).unwrap_or_else(|_| HeaderValue::from_static("unnamed"))
            }),
            description,
            sha256,
            built_in,
            since: SystemTime::now(),
        }
    }

    fn source(&self) -> &'static str {
        if self.built_in { "built-in" } else { "file" }
    }

    fn label(&self) -> [String; 2] {
        let sha256 = base16ct::lower::encode_string(&self.sha256);
        [self.description.version.clone(), sha256]
    }
}

/// An [`ActiveComponent`] of any type.
pub(crate) trait HotSwap: Send + Sync {
    /// The name of its world, and of the file.
    fn name(&self) -> &'static str;

    /// Whether this is what is in force.
    fn is_in_force(&self, sha256: &[u8; 32]) -> bool;

    /// Puts a file's component in force, if it is good.
    fn swap(&self, compiled: &Compiled) -> Result<(), Refusal>;

    /// Puts in force again what ships with the binary.
    fn restore(&self) -> Result<(), Refusal>;

    /// Nothing is wrong with the file.
    fn accept(&self);

    /// Notes that a file was not taken; the component in force stays. The same rejection is logged once.
    fn reject(&self, rejection: Rejection);

    /// What `/health` says.
    fn document(&self) -> Value;
}

impl<T: Send + Sync> HotSwap for ActiveComponent<T> {
    fn name(&self) -> &'static str {
        self.built_in.name
    }

    fn is_in_force(&self, sha256: &[u8; 32]) -> bool {
        let in_force = self.borrow();
        !in_force.identity.built_in && in_force.identity.sha256 == *sha256
    }

    fn swap(&self, compiled: &Compiled) -> Result<(), Refusal> {
        self.put(ComponentSource::File(compiled))
    }

    fn restore(&self) -> Result<(), Refusal> {
        *self.rejected() = None;
        if self.borrow().identity.built_in {
            return Ok(());
        }
        self.put(ComponentSource::BuiltIn(self.built_in))
    }

    fn accept(&self) {
        *self.rejected() = None;
    }

    fn reject(&self, rejection: Rejection) {
        let mut rejected = self.rejected();
        if rejected
            .as_ref()
            .is_some_and(|(before, _)| *before == rejection)
        {
            return;
        }
        self.events.refused(rejection.code);
        tracing::error!(
            component = self.built_in.name,
            sha256 = rejection
                .sha256
                .map(|sum| base16ct::lower::encode_string(&sum)),
            code = rejection.code,
            reason = rejection.reason,
            "component file refused"
        );
        *rejected = Some((rejection, SystemTime::now()));
    }

    fn document(&self) -> Value {
        let rfc3339 = |time| humantime::format_rfc3339_seconds(time).to_string();
        let in_force = self.borrow();
        let identity = &in_force.identity;
        let rejected = self.rejected();
        let rejected = rejected.as_ref().map(|(rejection, at)| {
            json!({
                "at": rfc3339(*at),
                "sha256": rejection.sha256.map(|sum| base16ct::lower::encode_string(&sum)),
                "code": rejection.code,
                "reason": rejection.reason,
            })
        });
        json!({
            // Of the slot: what a file calls itself may be anything.
            "name": self.built_in.name,
            "implementation": identity.description.name,
            "version": identity.description.version,
            "description": identity.description.summary,
            "sha256": base16ct::lower::encode_string(&identity.sha256),
            "source": identity.source(),
            "since": rfc3339(identity.since),
            "last_rejection": rejected,
        })
    }
}
