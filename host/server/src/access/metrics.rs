//! Counters of access control.

use super::key_set::InvalidKey;
use super::usage::Usages;
use bulkhead_http::HandshakeFailure;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The reason why a request was rejected. Only metrics distinguish the first four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// The key is missing, or the header is malformed.
    NoKey,
    UnknownKey,
    ExpiredKey,
    /// The client certificate is valid, but no entry lists it.
    UnknownCertificate,
    /// The key is valid, but does not have the scope.
    Scope,
    /// A page of another origin made a browser send the request.
    CrossSite,
}

impl Rejection {
    const ALL: [Self; 6] = [
        Self::NoKey,
        Self::UnknownKey,
        Self::ExpiredKey,
        Self::UnknownCertificate,
        Self::Scope,
        Self::CrossSite,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::UnknownKey => "unknown_key",
            Self::ExpiredKey => "expired_key",
            Self::UnknownCertificate => "unknown_certificate",
            Self::Scope => "scope",
            Self::CrossSite => "cross_site",
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

const HANDSHAKE_FAILURES: [HandshakeFailure; 5] = [
    HandshakeFailure::Timeout,
    HandshakeFailure::Closed,
    HandshakeFailure::NotTls,
    HandshakeFailure::PlainHttp,
    HandshakeFailure::Rejected,
];

const fn handshake_label(why: HandshakeFailure) -> &'static str {
    match why {
        HandshakeFailure::Timeout => "timeout",
        HandshakeFailure::Closed => "closed",
        HandshakeFailure::NotTls => "not_tls",
        HandshakeFailure::PlainHttp => "plain_http",
        HandshakeFailure::Rejected => "rejected",
    }
}

/// The counters of access control.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccessMetrics {
    rejections: [Counter; Rejection::ALL.len()],
    handshake_failures: [Counter; HANDSHAKE_FAILURES.len()],
    pub(super) entries: Gauge,
    pub(super) reload_failures: Counter,
    pub(crate) tls_reload_failures: Counter,
    pub(super) failed_attempts_limited: Counter,
    pub(super) failed_attempts_addresses: Gauge,
    pub(super) usages: Usages,
}

impl AccessMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            usages: Usages::register(registry),
            ..Self::default()
        };
        let rejections: Family<[(&'static str, &'static str); 1], Counter> = Family::default();
        let counters = Rejection::ALL
            .map(|reason| rejections.get_or_create_owned(&[("reason", reason.label())]));
        registry.register(
            "access_rejections",
            "Requests that access control rejected, by reason",
            rejections,
        );
        let failures: Family<[(&'static str, &'static str); 1], Counter> = Family::default();
        let handshake_failures = HANDSHAKE_FAILURES
            .map(|reason| failures.get_or_create_owned(&[("reason", handshake_label(reason))]));
        registry.register(
            "tls_handshake_failures",
            "Connections that ended before they had TLS, by reason",
            failures,
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
        registry.register(
            "tls_reload_failures",
            "Faulty files of TLS; the previous ones stay active",
            metrics.tls_reload_failures.clone(),
        );
        registry.register(
            "access_failed_attempts_limited",
            "Requests without a valid access key beyond the limit of their address",
            metrics.failed_attempts_limited.clone(),
        );
        registry.register(
            "access_failed_attempts_addresses",
            "Addresses whose requests without a valid access key are counted",
            metrics.failed_attempts_addresses.clone(),
        );
        Self {
            rejections: counters,
            handshake_failures,
            ..metrics
        }
    }

    pub(crate) fn count_handshake_failure(&self, why: HandshakeFailure) {
        let at = HANDSHAKE_FAILURES.iter().position(|known| *known == why);
        if let Some(counter) = at.map(|at| &self.handshake_failures[at]) {
            counter.inc();
        }
    }

    pub(super) fn count(&self, reason: Rejection) {
        self.rejections[reason as usize].inc();
    }
}
