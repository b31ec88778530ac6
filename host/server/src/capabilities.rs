//! The capabilities of the server. Each capability is a module with its settings, component, state,
//! handlers and problems. The macro `capabilities!` defines the list of capabilities. Start-up, `/health`,
//! admission, `check-config`, `component check` and `component export` iterate over this list. The table of
//! routes names the handlers.

pub(crate) mod decrypt;
pub(crate) mod signing;
pub(crate) mod token;

use crate::access::AccessError;
use crate::audit::AuditError;
use crate::components::{ActiveComponent, ComponentSource, HotSwap, Make};
use crate::config::http::HttpSettings;
use crate::config::secrets::SecretError;
use crate::listen::{LISTEN, TlsFileError};
use crate::metrics::Metrics;
use bulkhead_artifacts::Artifact;
use bulkhead_http::{Address, LimitExceeded, Problem};
use bulkhead_sandbox::{
    CallerId, CpuPermit, Description, GuestComponent, InstanceLimits, Pool, Rejection, Sandbox,
    Setup, SetupError, with_causes,
};
use serde_json::{Value, json};
use std::pin::Pin;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::oneshot;

/// Number of instances that an engine needs for swapping components: one for checking the new component,
/// and one for the last instance of the replaced component, which wasmtime cleans up when its last request
/// ends.
const SWAP_INSTANCES: u32 = 2;

/// A boxed future, as methods of trait objects return it.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A capability of a running server.
pub(crate) trait Capability: Send + Sync {
    /// Returns the swappable component, or `None` if the capability is not configured.
    fn component(&self) -> Option<Arc<dyn HotSwap>>;

    /// Returns whether the capability works.
    fn status(&self) -> CapabilityStatus;

    /// Returns further members of `/health`.
    fn health_members(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// Reads the secrets of the capability again. Returns an error for each secret that cannot be used. If
    /// there is one, the active secrets of the capability stay unchanged.
    fn reload(&self) -> Vec<SecretError> {
        Vec::new()
    }

    /// Stops starting work that outlasts its requests, and waits until the running work has ended.
    fn finish(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Closes the files of the capability at the end of the process. It does not work afterwards. Returns whether the
    /// next start will find all data.
    fn close(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}

/// The status of a capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CapabilityStatus {
    Ready,
    /// The operator did not configure it, which is not a failure.
    NotConfigured,
    /// It does not work, for this reason.
    Failing(String),
}

impl CapabilityStatus {
    /// Returns the status as a member of `/health`.
    pub(crate) fn document(&self) -> Value {
        match self {
            Self::Ready => json!({"status": "ready"}),
            Self::NotConfigured => json!({"status": "not_configured"}),
            Self::Failing(why) => json!({"status": "failing", "why": why}),
        }
    }
}

/// The context in which capabilities and their components are created.
pub(crate) struct Context<'a> {
    pub(crate) settings: &'a CapabilitySettings,
    pub(crate) http: &'a HttpSettings,
    pub(crate) metrics: &'a Metrics,
    /// Whether responses name the component that made them.
    pub(crate) component_header: bool,
    /// The number of I/O threads, which serve the connections.
    pub(crate) io_threads: u16,
    /// The first engine. All other engines share its clock thread.
    pub(crate) sandbox: &'a Sandbox,
}

impl Context<'_> {
    /// Returns an engine for `instances` concurrent instances of at most `memory_max` bytes, and for those
    /// that a swap of components needs.
    fn sandbox(&self, memory_max: usize, instances: u32) -> Result<Sandbox, StartError> {
        let setup = Setup {
            memory_bytes_max: memory_max,
            instances: instances + SWAP_INSTANCES,
        };
        self.sandbox
            .with_shared_ticker(&setup)
            .map_err(StartError::Sandbox)
    }

    /// Returns a function that loads, checks and links components of the given name. At most `instances` of
    /// their instances run at the same time.
    fn maker<T: GuestComponent>(
        &self,
        name: &'static str,
        instances: u32,
        limits: InstanceLimits,
    ) -> Result<Make<T>, StartError> {
        let sandbox = self.sandbox(limits.memory_bytes, instances)?;
        let metrics = self.metrics.component(name);
        Ok(Box::new(move |source| {
            source.admit(&sandbox, |loaded| {
                T::new(&sandbox, loaded, limits, metrics.clone())
            })
        }))
    }

    /// Returns the active component of a capability, which is the built-in one at first.
    fn component<T: Send + Sync>(
        &self,
        artifact: Artifact,
        make: Make<T>,
    ) -> Result<Arc<ActiveComponent<T>>, StartError> {
        let events = self.metrics.component_events(artifact.name);
        let active = ActiveComponent::new(artifact, self.component_header, events, make);
        let name = artifact.name;
        active
            .map(Arc::new)
            .map_err(|rejection| StartError::Component { name, rejection })
    }

    /// Starts `threads` threads for guests, of which at most `permits` compute at the same time.
    fn pool(
        &self,
        name: &'static str,
        threads: u16,
        permits: u16,
        queue_max: u32,
    ) -> Result<Pool, StartError> {
        let pool = Pool::new(name, threads.into(), permits.into(), queue_max as usize)?;
        self.metrics.watch(name, pool.waiting());
        Ok(pool)
    }
}

/// Runs a job of a caller on a thread of the pool and returns its result. If this future is dropped before the job
/// starts, the job does not run. A running job is not interrupted.
///
/// # Errors
/// 503 if the queue is full, and 500 if the job panics.
async fn on_worker<T: Send + 'static>(
    pool: &Pool,
    caller: CallerId,
    queue_full: LimitExceeded,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let (sender, receiver) = oneshot::channel();
    let job = move |_: &CpuPermit| {
        if !sender.is_closed() {
            let _closed_meanwhile = sender.send(job());
        }
    };
    pool.submit(caller, job).map_err(|_| queue_full)?;
    receiver
        .await
        .map_err(|_| Problem::internal("a job on a worker thread panicked"))
}

/// The server cannot start.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error("{}", .0.join("; "))]
    Settings(Vec<String>),
    #[error("cannot start threads: {0}. Raise the limit on processes (ulimit -u)")]
    Threads(#[from] std::io::Error),
    #[error("cannot set up the sandbox: {}. Raise the limits on address space (ulimit -v) and processes (ulimit -u)", with_causes(.0))]
    Sandbox(#[source] SetupError),
    #[error("the built-in {name} component was rejected: {rejection}")]
    Component {
        name: &'static str,
        rejection: Rejection,
    },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    #[error(transparent)]
    Store(#[from] signing::store::StoreOpenError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error("the thread that watches the components folder panicked")]
    ComponentsPanicked,
    #[error(
        "cannot listen on {address}: {source}. Choose another address with {}",
        LISTEN
    )]
    Listen {
        address: Address,
        source: std::io::Error,
    },
}

/// A component is not admitted.
#[derive(Debug, Error)]
pub(crate) enum AdmissionError {
    /// A server does not start with these settings, whatever the component is.
    #[error(transparent)]
    Settings(#[from] StartError),
    #[error("{0}")]
    Rejected(Rejection),
}

impl From<Rejection> for AdmissionError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// The output of `check-config` for a capability.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    /// Defaults that depend on the machine, with the names of their flags.
    pub(crate) defaults: Vec<(&'static str, String)>,
    /// A line for each secret, which shows whether it is set.
    pub(crate) secrets: Vec<String>,
    /// Error texts, from checks that open no store and make no call.
    pub(crate) problems: Vec<String>,
}

/// The definition of a capability, before it is started.
pub(crate) struct Definition {
    /// The built-in component. It has the name of the capability.
    pub(crate) artifact: Artifact,
    /// Returns an error text for each contradiction between the settings.
    pub(crate) contradictions: fn(&CapabilitySettings, &HttpSettings) -> Vec<String>,
    /// Returns the output of `check-config`.
    pub(crate) inspect: fn(&Context<'_>) -> Inspection,
    /// Checks a component as a server does before the component becomes active.
    pub(crate) admit: fn(&Context<'_>, ComponentSource<'_>) -> Result<Description, AdmissionError>,
}

/// Defines the list of capabilities. Each name is a module with `Settings`, `State` and `DEFINITION`.
macro_rules! capabilities {
    ($($name:ident),*) => {
        /// The settings of all capabilities.
        #[derive(Debug, Clone, clap::Args)]
        pub(crate) struct CapabilitySettings {
            $(#[command(flatten)] pub(crate) $name: $name::Settings,)*
        }

        /// All capabilities of a running server.
        pub(crate) struct Capabilities {
            $(pub(crate) $name: $name::State,)*
        }

        impl Capabilities {
            /// Starts all capabilities.
            ///
            /// # Errors
            /// [`StartError`] if one of them cannot start.
            pub(crate) fn start(context: &Context<'_>) -> Result<Self, StartError> {
                Ok(Self { $($name: $name::State::start(context)?,)* })
            }

            /// Returns the capabilities with their names.
            pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &dyn Capability)> {
                [$((stringify!($name), &self.$name as &dyn Capability)),*].into_iter()
            }
        }

        /// All capabilities before they are started.
        pub(crate) const DEFINITIONS: &[Definition] = &[$($name::DEFINITION),*];
    };
}

capabilities!(decrypt, token, signing);

impl CapabilitySettings {
    /// Returns an error text for each contradiction between the settings.
    pub(crate) fn contradictions(&self, http: &HttpSettings) -> Vec<String> {
        DEFINITIONS
            .iter()
            .flat_map(|capability| (capability.contradictions)(self, http))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Settings, first_sandbox};
    use bulkhead_sandbox::{Compiled, World};
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Defaults {
        #[command(flatten)]
        settings: Settings,
    }

    #[test]
    fn built_in_component_is_admitted_like_a_file() {
        let settings = Defaults::parse_from(["test"]).settings;
        let sandbox = first_sandbox().expect("sandbox should be set up");
        let metrics = Metrics::new(std::iter::empty());
        let context = settings.context(&sandbox, &metrics);
        for capability in DEFINITIONS {
            let Artifact { name, wasm, .. } = capability.artifact;
            let compiled = Compiled::new(wasm).expect("component should compile");
            let loaded = sandbox
                .load_compiled(&compiled)
                .expect("component should be loaded");
            let world = World::of(&sandbox, &loaded).expect("world should be known");
            assert_eq!(world.name(), name);
            let description = (capability.admit)(&context, ComponentSource::File(&compiled))
                .expect("component should be admitted");
            assert_eq!(description.name, name);
            assert_eq!(description.version, env!("CARGO_PKG_VERSION"));
        }
    }
}
