//! A place for one component, which can be filled anew at any time.

use crate::http::Answer;
use crate::metrics::{ComponentEvents, Metrics};
use arc_swap::ArcSwap;
use bulkhead_artifacts::Artifact;
use bulkhead_sandbox::{
    Compiled, Description, GuestComponent, Loaded, Refusal, Sandbox, sha256, verify,
};
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Who made an answer.
const HEADER: HeaderName = HeaderName::from_static("bulkhead-component");

/// A component with what is shown of it. A request keeps the one it began with.
pub(crate) struct InForce<T> {
    pub(crate) component: T,
    identity: Identity,
}

impl<T> InForce<T> {
    /// An answer that says who made it, where the operator wants that.
    pub(crate) fn attributed(&self, mut answer: Answer) -> Answer {
        if let Some(header) = &self.identity.header {
            let header = header.clone();
            answer.headers_mut().insert(HEADER, header);
        }
        answer
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

/// A file that was not taken.
struct Refused {
    /// None where it could not be read.
    sha256: Option<[u8; 32]>,
    code: &'static str,
    reason: String,
    at: SystemTime,
}

/// Shared by all slots.
pub(crate) struct SlotContext<'a> {
    pub(crate) metrics: &'a Metrics,
    /// Whether answers say which component made them.
    pub(crate) header: bool,
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

    /// Who it is. A file has to show first that it does what it must; what ships with the binary did
    /// so in our tests.
    pub(crate) fn admit(self, component: &impl GuestComponent) -> Result<Description, Refusal> {
        match self {
            Self::BuiltIn(_) => component
                .describe()
                .map_err(|fault| Refusal::silent(&fault)),
            Self::File(_) => verify(component),
        }
    }

    fn sha256(self) -> [u8; 32] {
        match self {
            Self::BuiltIn(artifact) => sha256(artifact.wasm),
            Self::File(compiled) => compiled.sha256(),
        }
    }
}

/// How a component is made ready for a slot.
type Make<T> = Box<dyn Fn(ComponentSource<'_>) -> Result<(T, Description), Refusal> + Send + Sync>;

/// The place.
pub(crate) struct Slot<T> {
    built_in: Artifact,
    in_force: ArcSwap<InForce<T>>,
    make: Make<T>,
    header: bool,
    refused: Mutex<Option<Refused>>,
    events: ComponentEvents,
}

impl<T: Send + Sync> Slot<T> {
    /// Filled with what ships with the binary.
    pub(crate) fn new(
        built_in: Artifact,
        context: &SlotContext<'_>,
        make: impl Fn(ComponentSource<'_>) -> Result<(T, Description), Refusal> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let make: Make<T> = Box::new(make);
        let header = context.header;
        let first = fill(&make, ComponentSource::BuiltIn(built_in), header).map_err(|refusal| {
            format!(
                "the {} component that ships with the binary: {refusal}",
                built_in.name
            )
        })?;
        let events = context.metrics.component_events(built_in.name);
        events.begin(&first.identity.label());
        Ok(Self {
            built_in,
            in_force: ArcSwap::from_pointee(first),
            make,
            header,
            refused: Mutex::new(None),
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
        self.set_refused(None);
        self.in_force.store(Arc::new(next));
        Ok(())
    }

    fn set_refused(&self, refused: Option<Refused>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
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

/// A slot, whatever is in it.
pub(crate) trait Exchangeable: Send + Sync {
    /// The name of its world, and of the file.
    fn name(&self) -> &'static str;

    /// Whether this is what is in force.
    fn is_in_force(&self, sha256: &[u8; 32]) -> bool;

    /// Puts a file's component in force, if it is good.
    fn exchange(&self, compiled: &Compiled) -> Result<(), Refusal>;

    /// Puts in force again what ships with the binary.
    fn restore(&self) -> Result<(), Refusal>;

    /// Nothing is wrong with the file.
    fn accept(&self);

    /// A file was not taken; what is in force stays. Said once, however often it is found so.
    fn refuse(&self, sha256: Option<[u8; 32]>, code: &'static str, reason: String);

    /// What `/health` says.
    fn document(&self) -> Value;
}

impl<T: Send + Sync> Exchangeable for Slot<T> {
    fn name(&self) -> &'static str {
        self.built_in.name
    }

    fn is_in_force(&self, sha256: &[u8; 32]) -> bool {
        let in_force = self.borrow();
        !in_force.identity.built_in && in_force.identity.sha256 == *sha256
    }

    fn exchange(&self, compiled: &Compiled) -> Result<(), Refusal> {
        self.put(ComponentSource::File(compiled))
    }

    fn restore(&self) -> Result<(), Refusal> {
        self.set_refused(None);
        if self.borrow().identity.built_in {
            return Ok(());
        }
        self.put(ComponentSource::BuiltIn(self.built_in))
    }

    fn accept(&self) {
        self.set_refused(None);
    }

    fn refuse(&self, sha256: Option<[u8; 32]>, code: &'static str, reason: String) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |before: &Refused| before.sha256 == sha256 && before.reason == reason;
        if refused.as_ref().is_some_and(is_same) {
            return;
        }
        self.events.refused(code);
        tracing::error!(
            component = self.built_in.name,
            sha256 = sha256.map(|sha256| base16ct::lower::encode_string(&sha256)),
            code,
            reason,
            "component file refused"
        );
        *refused = Some(Refused {
            sha256,
            code,
            reason,
            at: SystemTime::now(),
        });
    }

    fn document(&self) -> Value {
        let rfc3339 = |time| humantime::format_rfc3339_seconds(time).to_string();
        let in_force = self.borrow();
        let identity = &in_force.identity;
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = refused.as_ref().map(|refused| {
            json!({
                "at": rfc3339(refused.at),
                "sha256": refused.sha256.map(|sha256| base16ct::lower::encode_string(&sha256)),
                "code": refused.code,
                "reason": refused.reason,
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
            "last_refusal": refused,
        })
    }
}
