//! `GET /metrics`, and what the routes count.

mod components;
mod forms;

use crate::http::{Answer, answer, wanted};
use crate::problem::Problem;
use crate::routes::Route;
use bulkhead_kdf::KdfMetrics;
use bulkhead_relay::RelayMetrics;
use bulkhead_sandbox::{ComponentMetrics, SandboxMetrics, Waiting};
use hyper::header::{HeaderValue, VARY};
use hyper::{HeaderMap, StatusCode};
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

pub(crate) use components::ComponentEvents;
use components::ComponentsMetrics;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What happened to a request, for its status label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered(StatusCode),
    /// The client hung up before there was an answer.
    HungUp,
}

/// Everything that is counted, and the registry that knows it.
pub(crate) struct Metrics {
    registry: Registry,
    sandbox: SandboxMetrics,
    pub(crate) kdf: KdfMetrics,
    queues: Queues,
    components: ComponentsMetrics,
    pub(crate) relay: RelayMetrics,
    pub(crate) connections: Gauge,
    pub(crate) http: HttpMetrics,
}

/// Requests by route and status, with how long they took.
pub(crate) struct HttpMetrics {
    requests: Family<Labels<2>, Counter>,
    /// By the number of the route: looking a metric up by its labels costs more than a token.
    found: Vec<(Histogram, [OnceLock<Counter>; STATUSES.len()])>,
}

/// Every status that is answered with; a label of a metric must not be for a client to make up.
const STATUSES: [(u16, &str); 19] = [
    (200, "200"),
    (202, "202"),
    (204, "204"),
    (400, "400"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (408, "408"),
    (409, "409"),
    (413, "413"),
    (414, "414"),
    (415, "415"),
    (422, "422"),
    (431, "431"),
    (500, "500"),
    (501, "501"),
    (503, "503"),
    (OTHER, "other"),
    (HUNG_UP, "hung_up"),
];
const OTHER: u16 = 0;
const HUNG_UP: u16 = 1;

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("bulkhead");
        let http = HttpMetrics::register(&mut registry);
        let sandbox = SandboxMetrics::register(&mut registry);
        let kdf = KdfMetrics::register(&mut registry);
        let relay = RelayMetrics::register(&mut registry);
        let components = ComponentsMetrics::register(&mut registry);
        let connections = Gauge::default();
        registry.register("http_connections", "Open connections", connections.clone());
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
        }
    }

    pub(crate) fn component(&self, name: &'static str) -> ComponentMetrics {
        self.sandbox.of(name)
    }

    pub(crate) fn component_events(&self, name: &'static str) -> ComponentEvents {
        ComponentEvents {
            name,
            metrics: self.components.clone(),
        }
    }

    /// Shows a queue from now on.
    pub(crate) fn watch(&self, queue: &'static str, waiting: Waiting) {
        self.queues.all().push((queue, waiting));
    }

    /// All of them, in the form the client wants most: JSON where it does not care, the text of
    /// `OpenMetrics` 1.0, or that of Prometheus 0.0.4.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Result<Answer, Problem> {
        let json = wanted(headers, "application/json");
        let open = wanted(headers, "application/openmetrics-text");
        let plain = wanted(headers, "text/plain");
        let most = json.max(open).max(plain);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .map_err(|_| Problem::internal("metrics cannot be encoded"))?;
        let mut answer = match most {
            0 => {
                return Err(Problem::not_acceptable(
                    "application/json, application/openmetrics-text, text/plain",
                ));
            }
            most if most == json => answer(
                StatusCode::OK,
                "application/json",
                forms::json(&text).to_string() + "\n",
            ),
            most if most == open => answer(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                text,
            ),
            _ => answer(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                forms::prometheus(&text),
            ),
        };
        answer
            .headers_mut()
            .insert(VARY, HeaderValue::from_static("Accept"));
        Ok(answer)
    }
}

/// The queues in front of worker threads, looked at when somebody asks.
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
            "How long the oldest request that waits for a worker has waited, by queue.",
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
    fn register(registry: &mut Registry) -> Self {
        // 50 us to 52 s.
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
            "Time from a request's head to its answer, by route",
            Unit::Seconds,
            durations.clone(),
        );
        let found = Route::ALL
            .iter()
            .map(|route| {
                let duration = durations.get_or_create_owned(&[("route", route.name())]);
                (duration, std::array::from_fn(|_| OnceLock::new()))
            })
            .collect();
        Self { requests, found }
    }

    pub(crate) fn count(&self, route: Route, outcome: Outcome, time: Duration) {
        let status = match outcome {
            Outcome::Answered(status) => status.as_u16(),
            Outcome::HungUp => HUNG_UP,
        };
        let place = |status| STATUSES.iter().position(|(known, _)| *known == status);
        let at = place(status).or_else(|| place(OTHER)).unwrap_or_default();
        let labels = [("route", route.name()), ("status", STATUSES[at].1)];
        let (duration, counters) = &self.found[route as usize];
        duration.observe(time.as_secs_f64());
        counters[at]
            .get_or_init(|| self.requests.get_or_create_owned(&labels))
            .inc();
    }
}
