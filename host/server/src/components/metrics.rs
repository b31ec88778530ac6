//! Which components are in force, and what became of files that were to replace them.

use bulkhead_sandbox::RefusalKind;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Codes of files that do not come to be examined.
pub(crate) const UNREADABLE: &str = "unreadable";
pub(crate) const NOT_PINNED: &str = "not_pinned";

type Labels = Vec<(&'static str, String)>;

/// Those of all components, registered once.
#[derive(Debug, Clone)]
pub(crate) struct ComponentsMetrics {
    info: Family<Labels, Gauge>,
    exchanges: Family<Labels, Counter>,
    refusals: Family<Labels, Counter>,
}

impl ComponentsMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            info: Family::default(),
            exchanges: Family::default(),
            refusals: Family::default(),
        };
        registry.register(
            "component_info",
            "1 for each component in force, with its version and sha256",
            metrics.info.clone(),
        );
        registry.register(
            "component_exchanges",
            "Components put in force while the server runs",
            metrics.exchanges.clone(),
        );
        registry.register(
            "component_refusals",
            "Component files that were not taken, by reason",
            metrics.refusals.clone(),
        );
        metrics
    }

    /// Those of one component.
    pub(crate) fn of(&self, name: &'static str) -> ComponentEvents {
        ComponentEvents {
            name,
            metrics: self.clone(),
        }
    }
}

/// The same for one component.
#[derive(Debug, Clone)]
pub(crate) struct ComponentEvents {
    name: &'static str,
    metrics: ComponentsMetrics,
}

impl ComponentEvents {
    /// The first one is in force. Counters begin at zero: whoever watches their increase sees the first.
    pub(crate) fn begin(&self, label: &[String; 2]) {
        self.in_force(label);
        let labels = vec![("component", self.name.to_owned())];
        self.metrics.exchanges.get_or_create(&labels).inc_by(0);
        let codes = RefusalKind::ALL.map(RefusalKind::code);
        for code in codes.into_iter().chain([UNREADABLE, NOT_PINNED]) {
            let counter = self.metrics.refusals.get_or_create(&self.refusal(code));
            counter.inc_by(0);
        }
    }

    fn refusal(&self, code: &'static str) -> Labels {
        vec![
            ("component", self.name.to_owned()),
            ("reason", code.to_owned()),
        ]
    }

    /// What is in force has this version and this sum, and nothing else of this name is.
    fn in_force(&self, [version, sha256]: &[String; 2]) {
        let labels = vec![
            ("component", self.name.to_owned()),
            ("version", version.clone()),
            ("sha256", sha256.clone()),
        ];
        self.metrics.info.get_or_create(&labels).set(1);
    }

    /// One takes the place of the other.
    pub(crate) fn exchanged(&self, before: &[String; 2], after: &[String; 2]) {
        let labels = vec![
            ("component", self.name.to_owned()),
            ("version", before[0].clone()),
            ("sha256", before[1].clone()),
        ];
        self.metrics.info.remove(&labels);
        self.in_force(after);
        let labels = vec![("component", self.name.to_owned())];
        self.metrics.exchanges.get_or_create(&labels).inc();
    }

    /// One was not taken.
    pub(crate) fn refused(&self, code: &'static str) {
        self.metrics
            .refusals
            .get_or_create(&self.refusal(code))
            .inc();
    }
}
