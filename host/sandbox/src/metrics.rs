//! Metrics of instances by component, for operators.

use crate::fault::Fault;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::Ordering;
use std::time::Duration;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The metrics of all components. They are registered once.
#[derive(Debug, Clone)]
pub struct SandboxMetrics {
    ended: Family<Labels<2>, Counter>,
    start: Family<Labels<1>, Histogram, fn() -> Histogram>,
    memory: Family<Labels<1>, Gauge>,
}

/// The metrics of one component.
#[derive(Debug, Clone)]
pub struct ComponentMetrics {
    answered: Counter,
    deadline: Counter,
    memory_limit: Counter,
    interrupted: Counter,
    overloaded: Counter,
    trap: Counter,
    start: Histogram,
    memory: Gauge,
}

impl SandboxMetrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        // The buckets reach from 1 µs to 4 ms. A fresh instance takes about 5 µs on a recent kernel.
        // Milliseconds are a sign of a problem.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(1e-6, 2.0, 13));
        let metrics = Self {
            ended: Family::default(),
            start: Family::new_with_constructor(histogram),
            memory: Family::default(),
        };
        registry.register(
            "sandbox_instances",
            "Instances by component and by how they ended",
            metrics.ended.clone(),
        );
        registry.register_with_unit(
            "sandbox_start",
            "Time to create an instance",
            Unit::Seconds,
            metrics.start.clone(),
        );
        registry.register_with_unit(
            "sandbox_memory_high_water",
            "Maximum linear memory of any instance",
            Unit::Bytes,
            metrics.memory.clone(),
        );
        metrics
    }

    /// Returns the metrics of one component. Those that do not exist yet start at zero.
    pub fn of(&self, component: &'static str) -> ComponentMetrics {
        let ended = |end| {
            let labels = [("component", component), ("end", end)];
            self.ended.get_or_create_owned(&labels)
        };
        let labels = [("component", component)];
        ComponentMetrics {
            answered: ended("answered"),
            deadline: ended("deadline"),
            memory_limit: ended("memory"),
            interrupted: ended("interrupted"),
            overloaded: ended("overloaded"),
            trap: ended("trap"),
            start: self.start.get_or_create_owned(&labels),
            memory: self.memory.get_or_create_owned(&labels),
        }
    }
}

impl ComponentMetrics {
    /// Creates metrics that are not exported, for components outside of a server.
    pub fn unregistered() -> Self {
        SandboxMetrics::register(&mut Registry::default()).of("")
    }

    pub(crate) fn started(&self, time: Duration) {
        self.start.observe(time.as_secs_f64());
    }

    pub(crate) fn ended<R>(&self, outcome: &Result<R, Fault>, memory_bytes: usize) {
        let counter = match outcome {
            Ok(_) => &self.answered,
            Err(Fault::Deadline) => &self.deadline,
            Err(Fault::Memory) => &self.memory_limit,
            Err(Fault::Cancelled) => &self.interrupted,
            Err(Fault::KeysOverloaded | Fault::KeysCharged) => &self.overloaded,
            Err(Fault::Trap(_)) => &self.trap,
        };
        counter.inc();
        let memory_bytes = i64::try_from(memory_bytes).unwrap_or(i64::MAX);
        self.memory
            .inner()
            .fetch_max(memory_bytes, Ordering::Relaxed);
    }
}
