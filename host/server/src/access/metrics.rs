//! Counters of access control.

use super::key_set::InvalidKey;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The reason why a request was rejected. Only metrics distinguish the first three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// The key is missing, or the header is malformed.
    NoKey,
    UnknownKey,
    ExpiredKey,
    /// The key is valid, but does not have the scope.
    Scope,
}

impl Rejection {
    const ALL: [Self; 4] = [Self::NoKey, Self::UnknownKey, Self::ExpiredKey, Self::Scope];

    const fn label(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::UnknownKey => "unknown_key",
            Self::ExpiredKey => "expired_key",
            Self::Scope => "scope",
        }
    }
}

impl From<InvalidKey> for Rejection {
    fn from(invalid: InvalidKey) -> Self {
        match invalid {
            InvalidKey::Unknown => Self::UnknownKey,
            InvalidKey::Expired => Self::ExpiredKey,
        }
    }
}

/// The counters of access control.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccessMetrics {
    rejections: [Counter; Rejection::ALL.len()],
    pub(super) entries: Gauge,
    pub(super) reload_failures: Counter,
}

impl AccessMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let rejections: Family<[(&'static str, &'static str); 1], Counter> = Family::default();
        let counters = Rejection::ALL
            .map(|reason| rejections.get_or_create_owned(&[("reason", reason.label())]));
        registry.register(
            "access_rejections",
            "Requests without a valid access key or scope, by reason",
            rejections,
        );
        registry.register(
            "access_entries",
            "Entries of the active access keys",
            metrics.entries.clone(),
        );
        registry.register(
            "access_reload_failures",
            "Faulty files of access keys; the previous keys stay active",
            metrics.reload_failures.clone(),
        );
        Self {
            rejections: counters,
            ..metrics
        }
    }

    pub(super) fn count(&self, reason: Rejection) {
        self.rejections[reason as usize].inc();
    }
}
