//! The metrics of key derivation.

use crate::path::Path;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

type Labels = [(&'static str, &'static str); 1];

/// The metrics of an engine.
#[derive(Debug, Clone)]
pub struct KdfMetrics {
    hashed: [Counter; Path::ALL.len()],
    busy: Counter<f64, AtomicU64>,
    lanes: Histogram,
    waited: Histogram,
    pending: Gauge,
    pending_max: Gauge,
    threads: Gauge,
    streams: [Gauge; 2],
}

impl KdfMetrics {
    /// Creates the metrics and adds them to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let hashed = Family::<Labels, Counter>::default();
        let streams = Family::<Labels, Gauge>::default();
        let metrics = Self {
            hashed: Path::ALL.map(|path| hashed.get_or_create_owned(&[("path", path.name())])),
            busy: Counter::default(),
            lanes: Histogram::new([1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0]),
            // From 20 µs to 20 s.
            waited: Histogram::new(exponential_buckets(20e-6, 4.0, 11)),
            pending: Gauge::default(),
            pending_max: Gauge::default(),
            threads: Gauge::default(),
            streams: ["waiting", "running"]
                .map(|state| streams.get_or_create_owned(&[("state", state)])),
        };
        registry.register_with_unit(
            "kdf_hashed",
            "Bytes hashed by iterated key derivation (S2K), by path",
            Unit::Bytes,
            hashed,
        );
        registry.register_with_unit(
            "kdf_busy",
            "Time that all key-derivation threads together spent hashing",
            Unit::Seconds,
            metrics.busy.clone(),
        );
        registry.register(
            "kdf_lanes",
            "Streams hashed side by side, per turn of a thread",
            metrics.lanes.clone(),
        );
        registry.register_with_unit(
            "kdf_wait",
            "Time that a stream waited for its first turn",
            Unit::Seconds,
            metrics.waited.clone(),
        );
        registry.register_with_unit(
            "kdf_pending",
            "Bytes still to hash for the waiting and running derivations; slow hashes count up to 12 times",
            Unit::Bytes,
            metrics.pending.clone(),
        );
        registry.register_with_unit(
            "kdf_pending_max",
            "Maximum number of pending bytes; derivations beyond it are rejected unless none is pending",
            Unit::Bytes,
            metrics.pending_max.clone(),
        );
        registry.register(
            "kdf_threads",
            "Number of key-derivation threads",
            metrics.threads.clone(),
        );
        registry.register(
            "kdf_streams",
            "Streams (passes of derivations), by state",
            streams,
        );
        metrics
    }

    /// Creates metrics that are not exported.
    pub fn unregistered() -> Self {
        Self::register(&mut Registry::default())
    }

    /// Returns the number of bytes hashed so far on a path.
    pub fn hashed_by(&self, path: Path) -> u64 {
        self.hashed[path as usize].get()
    }

    pub(crate) fn hashed(&self, path: Path, bytes: u64) {
        self.hashed[path as usize].inc_by(bytes);
    }

    pub(crate) fn turn(&self, path: Path, streams: usize, bytes: u64, time: Duration) {
        self.hashed(path, bytes);
        self.busy.inc_by(time.as_secs_f64());
        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
        self.lanes.observe(streams.into());
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.waited.observe(time.as_secs_f64());
    }

    pub(crate) fn limits(&self, threads: usize, pending_max: u64) {
        set(&self.threads, threads as u64);
        set(&self.pending_max, pending_max);
    }

    pub(crate) fn pending(&self, bytes: u64) {
        set(&self.pending, bytes);
    }

    pub(crate) fn streams(&self, waiting: usize, running: usize) {
        for (gauge, streams) in self.streams.iter().zip([waiting, running]) {
            set(gauge, streams as u64);
        }
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
