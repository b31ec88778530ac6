//! The state that all requests share, and the settings that it is built from.

use crate::access::{Access, AccessSettings};
use crate::audit::{Audit, AuditSettings};
use crate::capabilities::{Capabilities, CapabilitySettings, Context, StartError};
use crate::client_address::TrustedProxy;
use crate::components::{self, HotSwap, Watch};
use crate::config::Switch;
use crate::config::components::ComponentSettings;
use crate::config::http::HttpSettings;
use crate::listen::{ActiveTls, ListenSettings};
use crate::metrics::Metrics;
use crate::process::LogThrottle;
use crate::process::allocator;
use bulkhead_http::{BodyReader, LimitExceeded, MemoryBudget, setting};
use bulkhead_sandbox::{Sandbox, Setup};
use clap::Args;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::oneshot;

/// Number of I/O threads. Two are enough, because they only run work that takes microseconds.
pub(crate) const IO_THREADS: u16 = 2;

/// Maximum time for closing the store at the end of the process.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

const BODIES_HELD: LimitExceeded = LimitExceeded {
    reason: "too many request bodies are in memory",
    setting: setting!(HttpSettings, bodies_max),
};

/// All settings of a server.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// If on, the log has a line for each HTTP request, with id, trace, addresses, method, route, status and
    /// duration.
    #[arg(long, value_enum, default_value = "off", value_name = "SWITCH")]
    pub(crate) access_log: Switch,
    /// Proxies whose header `X-Forwarded-For` is used for the client's address in the access log and in the audit
    /// log, and for the limit on failed attempts: addresses and networks, separated by commas, as in
    /// `127.0.0.1,10.1.0.0/16`. Entries of the header are read from the right, and the first address that is not
    /// a trusted proxy is the client. The header is ignored if others send it.
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub(crate) trusted_proxies: Vec<TrustedProxy>,
    #[command(flatten)]
    pub(crate) listen: ListenSettings,
    #[command(flatten)]
    pub(crate) access: AccessSettings,
    #[command(flatten)]
    pub(crate) audit: AuditSettings,
    #[command(flatten)]
    pub(crate) http: HttpSettings,
    #[command(flatten)]
    pub(crate) capabilities: CapabilitySettings,
    #[command(flatten)]
    pub(crate) components: ComponentSettings,
}

impl Settings {
    /// Returns an error text for each contradiction between the settings.
    pub(crate) fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        found.extend(self.listen.contradiction());
        found.extend(self.access.contradiction(&self.listen));
        found.extend(self.audit.contradiction());
        found.extend(self.http.contradiction());
        found.extend(self.components.contradiction());
        found.extend(self.capabilities.contradictions(&self.http));
        found
    }

    /// Returns the context in which capabilities and components are created.
    pub(crate) fn context<'a>(&'a self, sandbox: &'a Sandbox, metrics: &'a Metrics) -> Context<'a> {
        Context {
            settings: &self.capabilities,
            http: &self.http,
            metrics,
            component_header: self.components.component_header.is_on(),
            io_threads: IO_THREADS,
            sandbox,
        }
    }
}

/// Returns the first engine, which the engines of the capabilities share resources with. It loads
/// components of any size, and runs one instance.
///
/// # Errors
/// [`StartError::Sandbox`] if the engine cannot be set up.
pub(crate) fn first_sandbox() -> Result<Sandbox, StartError> {
    let setup = Setup {
        memory_bytes_max: 4 << 30,
        instances: 1,
    };
    Sandbox::new(&setup).map_err(StartError::Sandbox)
}

/// The state that all requests share.
pub(crate) struct App {
    pub(crate) capabilities: Capabilities,
    pub(crate) metrics: Metrics,
    pub(crate) bodies: BodyReader,
    pub(crate) access: Access,
    pub(crate) audit: Audit,
    pub(crate) tls: ActiveTls,
    /// Whether `/health` and `/metrics` have listeners of their own.
    pub(crate) has_observe_listener: bool,
    pub(crate) access_log: bool,
    pub(crate) trusted_proxies: Vec<TrustedProxy>,
    pub(crate) overload_log: LogThrottle,
    /// The components of all configured capabilities.
    pub(crate) components: Vec<Arc<dyn HotSwap>>,
    /// The watched components folder, if one is configured.
    pub(crate) watch: Option<Watch>,
    pub(crate) draining: AtomicBool,
}

impl App {
    /// Starts all capabilities, and the thread that watches the components folder. The receiver gets a
    /// message after the first scan of the folder. It is `None` if no folder is configured.
    ///
    /// # Errors
    /// [`StartError`] if a capability or a thread cannot start.
    pub(crate) fn start(
        settings: &Settings,
        metrics: Metrics,
    ) -> Result<(Self, Option<oneshot::Receiver<()>>), StartError> {
        let access = Access::start(
            &settings.access,
            &settings.listen,
            &settings.trusted_proxies,
            &metrics.access,
        )?;
        let audit = Audit::start(&settings.audit, &metrics.audit)?;
        let tls = ActiveTls::start(&settings.listen, metrics.access.tls_reload_failures.clone())?;
        let sandbox = first_sandbox()?;
        let capabilities = Capabilities::start(&settings.context(&sandbox, &metrics))?;
        let components: Vec<_> = capabilities
            .iter()
            .filter_map(|(_, capability)| capability.component())
            .collect();
        let watched = components::watch(&settings.components, components.clone())?;
        let (watch, first_scan) = watched.unzip();
        let bodies_max = settings.http.bodies_max.as_usize();
        let app = Self {
            capabilities,
            metrics,
            bodies: BodyReader {
                settings: settings.http.limits(),
                budget: MemoryBudget::new(bodies_max, BODIES_HELD, allocator::footprint),
            },
            access,
            audit,
            tls,
            has_observe_listener: !settings.listen.observe_listen.is_empty(),
            access_log: settings.access_log.is_on(),
            trusted_proxies: settings.trusted_proxies.clone(),
            overload_log: LogThrottle::new(),
            components,
            watch,
            draining: AtomicBool::new(false),
        };
        Ok((app, first_scan))
    }

    /// Closes the files of all capabilities, within [`CLOSE_TIMEOUT`]. To be called when no request runs. Returns
    /// whether the next start will find all data.
    pub(crate) async fn close(&self) -> bool {
        let closed = async {
            let mut is_complete = true;
            for (_, capability) in self.capabilities.iter() {
                is_complete &= capability.close().await;
            }
            is_complete
        };
        let closed = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
        // The next start reads the log of a file that was not closed.
        closed.unwrap_or_else(|_| {
            let timeout_ms = CLOSE_TIMEOUT.as_millis();
            tracing::warn!(timeout_ms, "the store was not closed in time");
            true
        })
    }
}
