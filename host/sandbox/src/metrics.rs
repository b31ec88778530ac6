//! What instances do, counted: by component, in numbers an operator watches.

use crate::fault::Fault;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::Ordering;
use std::time::Duration;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The metrics of all components, registered once.
#[derive(Debug, Clone)]
pub struct SandboxMetrics {
    ended: Family<Labels<2>, Counter>,
    start: Family<Labels<1>, Histogram, fn() -> Histogram>,
    memory: Family<Labels<1>, Gauge>,
}

/// The same for one component, ready to be counted with.
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
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        // 1 us to 4 ms: a fresh instance takes five on a recent kernel, and milliseconds only when
        // something is wrong.
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
            "Time to make a fresh instance",
            Unit::Seconds,
            metrics.start.clone(),
        );
        registry.register_with_unit(
            "sandbox_memory_high_water",
            "The most linear memory that any instance had",
            Unit::Bytes,
            metrics.memory.clone(),
        );
        metrics
    }

    /// Those of one component, from zero.
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
    /// Metrics that nobody reads, for components outside of a server.
    pub fn unregistered() -> Self {
        SandboxMetrics::register(&mut Registry::default()).of("")
    }

    pub(crate) fn started(&self, time: Duration) {
        self.start.observe(time.as_secs_f64());
    }

    pub(crate) fn ended<R>(&self, outcome: &Result<R, Fault>, memory_octets: usize) {
        let counter = match outcome {
            Ok(_) => &self.answered,
            Err(Fault::Deadline) => &self.deadline,
            Err(Fault::Memory) => &self.memory_limit,
            Err(Fault::Cancelled) => &self.interrupted,
            Err(Fault::KeysOverloaded) => &self.overloaded,
            Err(Fault::Trap(_)) => &self.trap,
        };
        counter.inc();
        let memory_octets = i64::try_from(memory_octets).unwrap_or(i64::MAX);
        self.memory
            .inner()
            .fetch_max(memory_octets, Ordering::Relaxed);
    }
}
