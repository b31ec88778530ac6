//! Counters of the audit log.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// The counters of the audit log.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditMetrics {
    pub(super) written: Counter,
    pub(super) lost: Counter,
}

impl AuditMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "audit_lines",
            "Lines that were written to the audit log",
            metrics.written.clone(),
        );
        registry.register(
            "audit_lines_lost",
            "Lines of the audit log that were lost, because its file failed or was slow",
            metrics.lost.clone(),
        );
        metrics
    }
}
