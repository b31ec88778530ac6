//! Metrics of active components and of files that replaced them or were rejected.

use bulkhead_sandbox::RejectionKind;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The codes of rejections before a file is compiled.
pub(crate) const UNREADABLE: &str = "unreadable";
pub(crate) const NOT_PINNED: &str = "not_pinned";

type Labels = Vec<(&'static str, String)>;

/// The metrics of all components. They are registered once.
#[derive(Debug, Clone)]
pub(crate) struct ComponentsMetrics {
    info: Family<Labels, Gauge>,
    swaps: Family<Labels, Counter>,
    rejections: Family<Labels, Counter>,
}

impl ComponentsMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            info: Family::default(),
            swaps: Family::default(),
            rejections: Family::default(),
        };
        registry.register(
            "component_info",
            "1 for each active component, with its version and sha256",
            metrics.info.clone(),
        );
        registry.register(
            "component_swaps",
            "Components activated while the server runs",
            metrics.swaps.clone(),
        );
        registry.register(
            "component_rejections",
            "Component files that were rejected, by reason",
            metrics.rejections.clone(),
        );
        metrics
    }

    /// Returns the metrics of one component.
    pub(crate) fn of(&self, name: &'static str) -> ComponentEvents {
        ComponentEvents {
            name,
            metrics: self.clone(),
        }
    }
}

/// The metrics of one component.
#[derive(Debug, Clone)]
pub(crate) struct ComponentEvents {
    name: &'static str,
    metrics: ComponentsMetrics,
}

impl ComponentEvents {
    /// Records the first active component, and sets all counters to zero. Counters exist from the start, so
    /// that their first increase is visible.
    pub(crate) fn begin(&self, label: &[String; 2]) {
        self.set_active(label);
        let labels = vec![("component", self.name.to_owned())];
        self.metrics.swaps.get_or_create(&labels).inc_by(0);
        let codes = RejectionKind::ALL.map(RejectionKind::code);
        for code in codes.into_iter().chain([UNREADABLE, NOT_PINNED]) {
            let counter = self.metrics.rejections.get_or_create(&self.rejection(code));
            counter.inc_by(0);
        }
    }

    fn rejection(&self, code: &'static str) -> Labels {
        vec![
            ("component", self.name.to_owned()),
            ("reason", code.to_owned()),
        ]
    }

    /// Sets the metric of the active component's version and SHA-256.
    fn set_active(&self, [version, sha256]: &[String; 2]) {
        let labels = vec![
            ("component", self.name.to_owned()),
            ("version", version.clone()),
            ("sha256", sha256.clone()),
        ];
        self.metrics.info.get_or_create(&labels).set(1);
    }

    /// Records that the component `after` replaced `before`.
    pub(crate) fn swapped(&self, before: &[String; 2], after: &[String; 2]) {
        let labels = vec![
            ("component", self.name.to_owned()),
            ("version", before[0].clone()),
            ("sha256", before[1].clone()),
        ];
        self.metrics.info.remove(&labels);
        self.set_active(after);
        let labels = vec![("component", self.name.to_owned())];
        self.metrics.swaps.get_or_create(&labels).inc();
    }

    /// Records that a file was rejected.
    pub(crate) fn rejected(&self, code: &'static str) {
        self.metrics
            .rejections
            .get_or_create(&self.rejection(code))
            .inc();
    }
}
