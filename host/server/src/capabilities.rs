//! What the server can do. Each capability is a module: its settings, its component, its state, its handlers
//! and its problems. The macro `capabilities!` makes the one list of them, over which start-up, `/health`, admission,
//! `check-config`, `component check` and `component export` iterate. The table of routes leads to the handlers.

pub(crate) mod decrypt;
pub(crate) mod signing;
pub(crate) mod token;

use crate::components::{ActiveComponent, Admitted, ComponentSource, HotSwap};
use crate::config::http::HttpSettings;
use crate::config::secrets::SecretError;
use crate::metrics::Metrics;
use bulkhead_artifacts::Artifact;
use bulkhead_http::{LimitExceeded, Problem, Setting};
use bulkhead_sandbox::{
    CpuPermit, Description, Pool, Refusal, Sandbox, Setup, SetupError, with_causes,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::oneshot;

/// Of the places that an engine has for instances: one in which a component that is to replace another shows
/// what it can, and one for an instance of the replaced one, which wasmtime cleans up when its last request
/// ends.
const SWAP_PLACES: u32 = 2;

/// A future that is returned by an object.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A capability of a running server.
pub(crate) trait Capability: Send + Sync {
    /// The place of its component; `None` if the capability is not configured.
    fn component(&self) -> Option<Arc<dyn HotSwap>>;

    /// Whether it works.
    fn status(&self) -> CapabilityStatus;

    /// Further members of `/health`.
    fn health_members(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// Reads its secrets again. If that fails, those in force stay.
    fn reload(&self) -> Result<(), SecretError> {
        Ok(())
    }

    /// Waits until work has ended that outlasts its requests, and begins no more of it.
    fn finish(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Whether a capability works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CapabilityStatus {
    Ready,
    /// Nothing is wrong: the operator did not ask for it.
    NotConfigured,
    /// It does not work, and why.
    Failing(String),
}

impl CapabilityStatus {
    /// As `/health` has it.
    pub(crate) fn document(&self) -> Value {
        match self {
            Self::Ready => json!({"status": "ready"}),
            Self::NotConfigured => json!({"status": "not_configured"}),
            Self::Failing(why) => json!({"status": "failing", "why": why}),
        }
    }
}

/// What capabilities and their components are made with.
pub(crate) struct Context<'a> {
    pub(crate) settings: &'a CapabilitySettings,
    pub(crate) http: &'a HttpSettings,
    pub(crate) metrics: &'a Metrics,
    /// Whether responses say which component made them.
    pub(crate) component_header: bool,
    /// The number of threads that connections live on.
    pub(crate) io_threads: u16,
    /// The engine whose clock thread all others share.
    pub(crate) sandbox: &'a Sandbox,
}

impl Context<'_> {
    /// An engine for so many instances at the same time, beside those that a swap of components needs.
    fn sandbox(&self, memory_max: usize, instances: u32) -> Result<Sandbox, StartError> {
        let setup = Setup {
            memory_octets_max: memory_max,
            instances: instances + SWAP_PLACES,
        };
        self.sandbox.beside(&setup).map_err(StartError::Sandbox)
    }

    /// A place for a component, filled with the one that ships with the binary.
    fn component<T: Send + Sync>(
        &self,
        artifact: Artifact,
        make: impl Fn(ComponentSource<'_>) -> Admitted<T> + Send + Sync + 'static,
    ) -> Result<Arc<ActiveComponent<T>>, StartError> {
        let events = self.metrics.component_events(artifact.name);
        let active = ActiveComponent::new(artifact, self.component_header, events, make);
        let name = artifact.name;
        active
            .map(Arc::new)
            .map_err(|refusal| StartError::Component { name, refusal })
    }

    /// Threads for guests; `turns` of them compute at the same time.
    fn pool(
        &self,
        name: &'static str,
        threads: u16,
        turns: u16,
        queue_max: u32,
    ) -> Result<Pool, StartError> {
        let pool = Pool::new(name, threads.into(), turns.into(), queue_max as usize)?;
        self.metrics.watch(name, pool.waiting());
        Ok(pool)
    }
}

/// Runs a job on a thread of the pool. It does not begin if the client has closed the connection by then.
async fn on_worker<T: Send + 'static>(
    pool: &Pool,
    queue_full: LimitExceeded,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let (sender, receiver) = oneshot::channel();
    let job = move |_: &CpuPermit| {
        if !sender.is_closed() {
            let _closed_meanwhile = sender.send(job());
        }
    };
    pool.submit(job).map_err(|_| queue_full)?;
    receiver
        .await
        .map_err(|_| Problem::internal("a job on a worker thread panicked"))
}

/// Why the server does not start.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error("{}", .0.join("; "))]
    Settings(Vec<String>),
    #[error("cannot start threads: {0}")]
    Threads(#[from] std::io::Error),
    #[error("cannot set up the sandbox: {}", with_causes(.0))]
    Sandbox(#[source] SetupError),
    #[error("the {name} component that ships with the binary: {refusal}")]
    Component {
        name: &'static str,
        refusal: Refusal,
    },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Store(#[from] signing::store::StoreOpenError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error("the thread for components panicked")]
    ComponentsPanicked,
    #[error(
        "cannot listen on {address}: {source}. Choose another with {}",
        Setting::new("listen")
    )]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
}

/// Why a component is not admitted.
#[derive(Debug, Error)]
pub(crate) enum AdmissionError {
    /// With such settings no server starts, whatever the component is.
    #[error(transparent)]
    Settings(#[from] StartError),
    #[error("{0}")]
    Rejected(Refusal),
}

impl From<Refusal> for AdmissionError {
    fn from(refusal: Refusal) -> Self {
        Self::Rejected(refusal)
    }
}

/// What `check-config` shows of a capability.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    /// Defaults that depend on the machine, by the name of their flag.
    pub(crate) defaults: Vec<(&'static str, String)>,
    /// A line for each secret, which says whether it is set.
    pub(crate) secrets: Vec<String>,
    /// What is wrong, as far as that shows without anything being opened.
    pub(crate) problems: Vec<String>,
}

/// A capability before it is started.
pub(crate) struct Definition {
    /// The component that ships with the binary. Its name is the capability's.
    pub(crate) artifact: Artifact,
    /// What is wrong with the settings together.
    pub(crate) contradictions: fn(&CapabilitySettings, &HttpSettings) -> Vec<String>,
    /// For `check-config`.
    pub(crate) inspect: fn(&Context<'_>) -> Inspection,
    /// What a server would say to a component.
    pub(crate) admit: fn(&Context<'_>, ComponentSource<'_>) -> Result<Description, AdmissionError>,
}

/// The list: a module with `Settings`, `State` and `DEFINITION` for each capability.
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
            /// Starts each of them.
            pub(crate) fn start(context: &Context<'_>) -> Result<Self, StartError> {
                Ok(Self { $($name: $name::State::start(context)?,)* })
            }

            /// Each with its name.
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
    /// What is wrong with the settings together.
    pub(crate) fn contradictions(&self, http: &HttpSettings) -> Vec<String> {
        DEFINITIONS
            .iter()
            .flat_map(|capability| (capability.contradictions)(self, http))
            .collect()
    }
}
