//! The active component of one capability. It can be replaced at any time.

use super::metrics::ComponentEvents;
use arc_swap::ArcSwap;
use bulkhead_artifacts::Artifact;
use bulkhead_http::Response;
use bulkhead_sandbox::{
    Compiled, Description, GuestComponent, Loaded, Rejection, Sandbox, sha256, verify,
};
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The header with the identity of the component that made a response.
const HEADER: HeaderName = HeaderName::from_static("bulkhead-component");

/// A component with its identity. A request uses the same component from its beginning to its end.
pub(crate) struct CurrentComponent<T> {
    pub(crate) component: T,
    identity: Identity,
}

impl<T> CurrentComponent<T> {
    pub(crate) fn sha256(&self) -> &[u8; 32] {
        &self.identity.sha256
    }

    /// Adds the header with the component's identity to a response, if that is configured.
    pub(crate) fn attributed(&self, mut response: Response) -> Response {
        if let Some(header) = &self.identity.header {
            response.headers_mut().insert(HEADER, header.clone());
        }
        response
    }
}

/// The identity of a component, and the time of its activation.
struct Identity {
    description: Description,
    sha256: [u8; 32],
    built_in: bool,
    since: SystemTime,
    header: Option<HeaderValue>,
}

/// The reason why a file is rejected.
#[derive(PartialEq, Eq)]
pub(crate) struct RejectedFile {
    /// The file's SHA-256, or `None` if the file could not be read.
    pub(crate) sha256: Option<[u8; 32]>,
    /// The code, for programs.
    pub(crate) code: &'static str,
    /// The text for operators.
    pub(crate) reason: String,
}

/// The source of a component.
#[derive(Clone, Copy)]
pub(crate) enum ComponentSource<'a> {
    /// The component is part of the binary.
    BuiltIn(Artifact),
    /// The component was compiled from a file.
    File(&'a Compiled),
}

impl ComponentSource<'_> {
    pub(crate) fn load(self, sandbox: &Sandbox) -> Result<Loaded, Rejection> {
        match self {
            Self::BuiltIn(artifact) => sandbox.load(artifact.wasm, Some(artifact.precompiled)),
            Self::File(compiled) => sandbox.load_compiled(compiled),
        }
    }

    /// Loads the component, links it with `ready`, and returns it with its description. A file must pass
    /// all checks. A built-in component passed them in the tests of this project.
    pub(crate) fn admit<R: GuestComponent>(
        self,
        sandbox: &Sandbox,
        ready: impl FnOnce(&Loaded) -> Result<R, Rejection>,
    ) -> Admitted<R> {
        let ready = ready(&self.load(sandbox)?)?;
        let description = match self {
            Self::BuiltIn(_) => ready
                .describe()
                .map_err(|fault| Rejection::silent(&fault))?,
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

/// A component that can be called, with its description.
pub(crate) type Admitted<T> = Result<(T, Description), Rejection>;

/// Loads and links a component for a capability.
pub(crate) type Make<T> = Box<dyn Fn(ComponentSource<'_>) -> Admitted<T> + Send + Sync>;

/// The active component, and the means to replace it.
pub(crate) struct ActiveComponent<T> {
    built_in: Artifact,
    current: ArcSwap<CurrentComponent<T>>,
    make: Make<T>,
    header: bool,
    rejected: Mutex<Option<(RejectedFile, SystemTime)>>,
    events: ComponentEvents,
}

impl<T: Send + Sync> ActiveComponent<T> {
    /// Activates the built-in component. If `header` is set, responses get a header with the component's
    /// identity.
    pub(crate) fn new(
        artifact: Artifact,
        header: bool,
        events: ComponentEvents,
        make: Make<T>,
    ) -> Result<Self, Rejection> {
        let first = fill(&make, ComponentSource::BuiltIn(artifact), header)?;
        events.begin(&first.identity.label());
        Ok(Self {
            built_in: artifact,
            current: ArcSwap::from_pointee(first),
            make,
            header,
            rejected: Mutex::new(None),
            events,
        })
    }

    /// Returns the active component, for work that may wait. The caller can use it after it was replaced.
    pub(crate) fn current(&self) -> Arc<CurrentComponent<T>> {
        self.current.load_full()
    }

    /// Returns the active component, for work that does not wait. This is faster than [`Self::current()`].
    pub(crate) fn borrow(&self) -> arc_swap::Guard<Arc<CurrentComponent<T>>> {
        self.current.load()
    }

    fn activate(&self, source: ComponentSource<'_>) -> Result<(), Rejection> {
        let next = fill(&self.make, source, self.header)?;
        let before = self.borrow().identity.label();
        self.events.swapped(&before, &next.identity.label());
        tracing::info!(
            component = self.built_in.name,
            version = next.identity.description.version,
            sha256 = base16ct::lower::encode_string(&next.identity.sha256),
            source = next.identity.source(),
            "component activated"
        );
        // The rejection is removed first, so that it is never shown together with the new component.
        *self.rejected() = None;
        self.current.store(Arc::new(next));
        Ok(())
    }

    fn rejected(&self) -> MutexGuard<'_, Option<(RejectedFile, SystemTime)>> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fill<T>(
    make: &Make<T>,
    source: ComponentSource<'_>,
    header: bool,
) -> Result<CurrentComponent<T>, Rejection> {
    let (component, description) = make(source)?;
    let sha256 = source.sha256();
    let built_in = matches!(source, ComponentSource::BuiltIn(_));
    Ok(CurrentComponent {
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
            // Descriptions have no control characters, but they may contain characters that are not ASCII.
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
    /// Returns the name of the component's world, which is also the name of the file.
    fn name(&self) -> &'static str;

    /// Returns whether a file with this SHA-256 is active.
    fn is_active(&self, sha256: &[u8; 32]) -> bool;

    /// Activates a component from a file if it passes all checks. Otherwise the active component stays.
    fn swap(&self, compiled: &Compiled) -> Result<(), Rejection>;

    /// Activates the built-in component, unless it is active.
    fn restore(&self) -> Result<(), Rejection>;

    /// Removes the last rejection, because the file is the active component.
    fn accept(&self);

    /// Records that a file was rejected. The active component stays. Repetitions of a rejection are not
    /// logged.
    fn reject(&self, rejection: RejectedFile);

    /// Returns the component's part of `/health`.
    fn document(&self) -> Value;
}

impl<T: Send + Sync> HotSwap for ActiveComponent<T> {
    fn name(&self) -> &'static str {
        self.built_in.name
    }

    fn is_active(&self, sha256: &[u8; 32]) -> bool {
        let current = self.borrow();
        !current.identity.built_in && current.identity.sha256 == *sha256
    }

    fn swap(&self, compiled: &Compiled) -> Result<(), Rejection> {
        self.activate(ComponentSource::File(compiled))
    }

    fn restore(&self) -> Result<(), Rejection> {
        *self.rejected() = None;
        if self.borrow().identity.built_in {
            return Ok(());
        }
        self.activate(ComponentSource::BuiltIn(self.built_in))
    }

    fn accept(&self) {
        *self.rejected() = None;
    }

    fn reject(&self, rejection: RejectedFile) {
        let mut rejected = self.rejected();
        if rejected
            .as_ref()
            .is_some_and(|(before, _)| *before == rejection)
        {
            return;
        }
        self.events.rejected(rejection.code);
        tracing::error!(
            component = self.built_in.name,
            sha256 = rejection
                .sha256
                .map(|sum| base16ct::lower::encode_string(&sum)),
            code = rejection.code,
            reason = rejection.reason,
            "component file rejected"
        );
        *rejected = Some((rejection, SystemTime::now()));
    }

    fn document(&self) -> Value {
        let rfc3339 = |time| humantime::format_rfc3339_seconds(time).to_string();
        let current = self.borrow();
        let identity = &current.identity;
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
            // This is the capability's name. The name in a component's description can be any text.
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
