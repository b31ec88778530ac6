//! The metrics of the relay.

use crate::environment::CallResult;
use bulkhead_sandbox::{Failure, Operation};
use bulkhead_store::StoreStats;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The metrics of the relay.
#[derive(Debug, Clone)]
pub struct RelayMetrics {
    calls: Family<Labels<2>, Counter>,
    call_time: Histogram,
    webhooks: Family<Labels<1>, Counter>,
    backlog: Gauge,
    oldest_age: Gauge,
    slots_free: Gauge,
    notifications: Family<Labels<1>, Gauge>,
}

impl RelayMetrics {
    /// Creates the metrics and adds them to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            // From 10 ms to 40 s.
            call_time: Histogram::new(exponential_buckets(0.01, 2.0, 13)),
            webhooks: Family::default(),
            backlog: Gauge::default(),
            oldest_age: Gauge::default(),
            slots_free: Gauge::default(),
            notifications: Family::default(),
        };
        registry.register(
            "upstream_calls",
            "Calls of the upstream, by kind and result",
            metrics.calls.clone(),
        );
        registry.register_with_unit(
            "upstream_call_duration",
            "Duration of a call of the upstream",
            Unit::Seconds,
            metrics.call_time.clone(),
        );
        registry.register(
            "webhook_attempts",
            "Attempts to deliver a notification, by result",
            metrics.webhooks.clone(),
        );
        registry.register(
            "relay_backlog",
            "Messages that wait for a signature",
            metrics.backlog.clone(),
        );
        registry.register_with_unit(
            "relay_oldest_age",
            "Age of the oldest message that waits for a signature",
            Unit::Seconds,
            metrics.oldest_age.clone(),
        );
        registry.register(
            "upstream_slots_free",
            "Calls that the quota allows now",
            metrics.slots_free.clone(),
        );
        registry.register(
            "notifications",
            "Notifications that are pending (to be delivered) or parked (kept, not attempted), by state",
            metrics.notifications.clone(),
        );
        metrics
    }

    /// Creates metrics that are not exported.
    pub fn unregistered() -> Self {
        Self::register(&mut Registry::default())
    }

    pub(crate) fn record_call(&self, operation: &Operation, result: &CallResult, took_ms: i64) {
        let kind = match operation {
            Operation::Sign(_) => "sign",
            Operation::Verify(_) => "verify",
            Operation::CheckKey => "key",
        };
        let labels = [("kind", kind), ("end", end(result))];
        self.calls.get_or_create_owned(&labels).inc();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of seconds")]
        self.call_time.observe(took_ms as f64 / 1000.0);
    }

    pub(crate) fn record_delivery(&self, result: &CallResult) {
        self.webhooks
            .get_or_create_owned(&[("end", end(result))])
            .inc();
    }

    pub(crate) fn record_stats(&self, stats: &StoreStats) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.backlog.set(number(stats.backlog));
        self.oldest_age
            .set(number(stats.oldest_age_ms.unwrap_or(0) / 1000));
        // While calls are held, no slot can be used.
        let slots_free = if stats.held_ms == 0 {
            stats.slots_free
        } else {
            0
        };
        self.slots_free.set(slots_free.into());
        for (state, count) in [
            ("pending", stats.notifications_pending),
            ("parked", stats.notifications_parked),
        ] {
            let gauge = self.notifications.get_or_create_owned(&[("state", state)]);
            gauge.set(number(count));
        }
    }
}

/// Returns the label for the result of a call, from a fixed set.
fn end(result: &CallResult) -> &'static str {
    match result {
        CallResult::Response(response) => match response.status {
            200..=299 => "2xx",
            300..=399 => "3xx",
            429 => "429",
            400..=499 => "4xx",
            500..=599 => "5xx",
            _ => "other",
        },
        CallResult::Unsent(_) | CallResult::Lost(Failure::NotConnected) => "not_sent",
        CallResult::Lost(Failure::TimedOut) => "timed_out",
        CallResult::Lost(Failure::CutOff) => "cut_off",
        CallResult::Lost(Failure::TooLong) => "too_long",
        CallResult::Lost(Failure::Malformed) | CallResult::Malformed(_) => "malformed",
    }
}
