//! The metrics of the server.

use crate::access::metrics::AccessMetrics;
use crate::audit::metrics::AuditMetrics;
use crate::components::metrics::{ComponentEvents, ComponentsMetrics};
use crate::process::logging;
use bulkhead_kdf::KdfMetrics;
use bulkhead_relay::RelayMetrics;
use bulkhead_sandbox::{ComponentMetrics, SandboxMetrics, Waiting};
use hyper::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The outcome of a request, for its status label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The request received a response with this status.
    Answered(StatusCode),
    /// The client closed the connection before there was a response.
    ClientClosed,
}

/// All metrics, and their registry.
pub(crate) struct Metrics {
    registry: Registry,
    sandbox: SandboxMetrics,
    pub(crate) kdf: KdfMetrics,
    queues: Queues,
    components: ComponentsMetrics,
    pub(crate) relay: RelayMetrics,
    pub(crate) connections: Gauge,
    pub(crate) http: HttpMetrics,
    pub(crate) access: AccessMetrics,
    pub(crate) audit: AuditMetrics,
}

/// The numbers of requests by route and status, and their durations.
pub(crate) struct HttpMetrics {
    requests: Family<Labels<2>, Counter>,
    /// The metrics by the number of the route. Finding a metric by its labels costs more than a token.
    routes: Vec<RouteMetrics>,
}

struct RouteMetrics {
    label: &'static str,
    duration: Histogram,
    statuses: [OnceLock<Counter>; STATUSES.len()],
}

/// The label of each status of responses. The list is fixed, so that clients cannot create labels.
#[rustfmt::skip]
const STATUSES: [&str; 23] = [
    "200", "202", "204", "400", "401", "403", "404", "405", "406", "408", "409", "413", "414", "415", "421", "422",
    "429", "431", "500", "501", "503", OTHER, CLIENT_CLOSED,
];
const OTHER: &str = "other";
const CLIENT_CLOSED: &str = "hung_up";

impl Metrics {
    /// Creates and registers the metrics. `routes` are the labels of all routes, in the order of their
    /// numbers.
    pub(crate) fn new(routes: impl Iterator<Item = &'static str>) -> Self {
        let mut registry = Registry::with_prefix("bulkhead");
        let http = HttpMetrics::register(&mut registry, routes);
        let sandbox = SandboxMetrics::register(&mut registry);
        let kdf = KdfMetrics::register(&mut registry);
        let relay = RelayMetrics::register(&mut registry);
        let components = ComponentsMetrics::register(&mut registry);
        let access = AccessMetrics::register(&mut registry);
        let audit = AuditMetrics::register(&mut registry);
        let connections = Gauge::default();
        registry.register("http_connections", "Open connections", connections.clone());
        registry.register(
            "log_lines_lost",
            "Log lines that were lost, because standard error was not read in time or failed",
            logging::lost_lines(),
        );
        let queues = Queues::default();
        registry.register_collector(Box::new(queues.clone()));
        Self {
            registry,
            sandbox,
            kdf,
            queues,
            components,
            relay,
            connections,
            http,
            access,
            audit,
        }
    }

    /// Returns the metrics of a component's instances.
    pub(crate) fn component(&self, name: &'static str) -> ComponentMetrics {
        self.sandbox.of(name)
    }

    /// Returns the metrics of a component's activations and rejections.
    pub(crate) fn component_events(&self, name: &'static str) -> ComponentEvents {
        self.components.of(name)
    }

    /// Adds a queue to the metrics.
    pub(crate) fn watch(&self, queue: &'static str, waiting: Waiting) {
        self.queues.all().push((queue, waiting));
    }

    /// Returns all metrics as the text of `OpenMetrics` 1.0.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The queues of worker threads. Their metrics are read when they are encoded.
#[derive(Debug, Clone, Default)]
struct Queues(Arc<Mutex<Vec<(&'static str, Waiting)>>>);

impl Queues {
    fn all(&self) -> MutexGuard<'_, Vec<(&'static str, Waiting)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Queues {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let queues = self.all();
        let mut family = encoder.encode_descriptor(
            "queue_waiting",
            "Requests that wait for a worker, by queue.",
            None,
            MetricType::Gauge,
        )?;
        for (queue, waiting) in queues.iter() {
            let depth = i64::try_from(waiting.depth()).unwrap_or(i64::MAX);
            let labels = [("queue", *queue)];
            ConstGauge::new(depth).encode(family.encode_family(&labels)?)?;
        }
        let mut family = encoder.encode_descriptor(
            "queue_oldest_age",
            "Age of the oldest request that waits for a worker, by queue.",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for (queue, waiting) in queues.iter() {
            let age = waiting.oldest().as_secs_f64();
            let labels = [("queue", *queue)];
            ConstGauge::new(age).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl HttpMetrics {
    fn register(registry: &mut Registry, routes: impl Iterator<Item = &'static str>) -> Self {
        // The buckets reach from 50 µs to 52 s.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(50e-6, 4.0, 11));
        let requests = Family::default();
        let durations: Family<Labels<1>, Histogram, _> = Family::new_with_constructor(histogram);
        registry.register(
            "http_requests",
            "Requests by route and status",
            requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time from the head of a request to its response, by route",
            Unit::Seconds,
            durations.clone(),
        );
        let routes = routes.map(|label| RouteMetrics {
            label,
            duration: durations.get_or_create_owned(&[("route", label)]),
            statuses: std::array::from_fn(|_| OnceLock::new()),
        });
        Self {
            requests,
            routes: routes.collect(),
        }
    }

    /// Counts a request to the route with the given number.
    pub(crate) fn count(&self, route: usize, outcome: Outcome, time: Duration) {
        let status = match &outcome {
            Outcome::Answered(status) => status.as_str(),
            Outcome::ClientClosed => CLIENT_CLOSED,
        };
        let position = |status| STATUSES.iter().position(|known| *known == status);
        let at = position(status)
            .or_else(|| position(OTHER))
            .unwrap_or_default();
        let route = &self.routes[route];
        let labels = [("route", route.label), ("status", STATUSES[at])];
        route.duration.observe(time.as_secs_f64());
        route.statuses[at]
            .get_or_init(|| self.requests.get_or_create_owned(&labels))
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::problems;

    #[test]
    fn status_of_every_problem_has_its_own_label() {
        for kind in problems::kinds() {
            let status = kind.status.to_string();
            assert!(STATUSES.contains(&status.as_str()), "{}", kind.code);
        }
    }
}
