//! The use of access keys, by the name of their entry.

use super::limits::{KeyLimit, LimitReached, Limits};
use super::rate::{self, Load};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The use of the keys of one entry since the start of the server.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Requests that were admitted.
    pub(super) requests: Counter,
    /// Requests with a valid key without the scope.
    pub(super) rejections: Counter,
    /// Requests that exceeded a limit, in the order of [`KeyLimit::ALL`].
    limited: [Counter; KeyLimit::ALL.len()],
    /// Requests that are being handled.
    running: Gauge,
    /// Bytes of key derivation.
    kdf_bytes: Counter,
    request_load: Load,
    kdf_load: Load,
    /// The limits that the loads belong to.
    limits: Mutex<Limits>,
    /// The time of the last request, in seconds since 1970. 0 if there was none.
    last_used: AtomicU64,
}

/// The outcome of a request with a valid key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Admitted,
    /// The key does not have the scope.
    Rejected,
}

impl Usage {
    /// Counts a request with a valid key.
    pub(super) fn count(&self, outcome: Outcome, now: SystemTime) {
        let counter = match outcome {
            Outcome::Admitted => &self.requests,
            Outcome::Rejected => &self.rejections,
        };
        counter.inc();
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = seconds.map_or(0, |time| time.as_secs());
        // Most requests only read this value, because threads share it.
        if self.last_used.load(Ordering::Relaxed) < seconds {
            self.last_used.store(seconds, Ordering::Relaxed);
        }
    }

    /// Returns the time of the last request with a valid key, in whole seconds.
    pub(super) fn last_used(&self) -> Option<SystemTime> {
        let seconds = self.last_used.load(Ordering::Relaxed);
        (seconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// Sets the limits of the loads. The units taken so far still count.
    pub(super) fn change_limits(&self, new: &Limits) {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *limits, *new);
        let now = rate::now();
        for (load, old, new) in [
            (&self.request_load, old.request_rate(), new.request_rate()),
            (&self.kdf_load, old.kdf_rate(), new.kdf_rate()),
        ] {
            if let (Some(old), Some(new)) = (old, new)
                && old != new
            {
                load.change_rate(old, new, now);
            }
        }
    }

    /// Returns the number of requests that exceeded a limit.
    pub(super) fn limited(&self) -> u64 {
        self.limited.iter().map(Counter::get).sum()
    }

    /// Begins a request. It ends when the returned value is dropped.
    ///
    /// # Errors
    /// [`LimitReached`] if the key has used up its rate of requests or its concurrent requests.
    pub(super) fn begin(self: &Arc<Self>, limits: &Limits) -> Result<RunningRequest, LimitReached> {
        if let Some(rate) = limits.request_rate() {
            let taken = self.request_load.take(rate, 1, 1, rate::now());
            taken.map_err(|wait| {
                self.count_limited(LimitReached::of_rate(KeyLimit::RequestRate, rate, wait))
            })?;
        }
        let before = self.running.inc();
        let running = RunningRequest(Arc::clone(self));
        match limits.requests_max {
            Some(max) if before >= i64::from(max) => Err(self.count_limited(LimitReached {
                limit: KeyLimit::RequestsMax,
                quota: max.into(),
                window: None,
                wait: None,
            })),
            _ => Ok(running),
        }
    }

    /// Checks that the key may begin a message that needs key derivation.
    ///
    /// # Errors
    /// [`LimitReached`] if the rate of key derivation is used up.
    pub(super) fn check_kdf(&self, limits: &Limits) -> Result<(), LimitReached> {
        self.take_kdf(limits, 0)
    }

    /// Takes the key derivation with which a message begins.
    ///
    /// # Errors
    /// [`LimitReached`] if the rate of key derivation is used up.
    pub(super) fn begin_kdf(&self, limits: &Limits, bytes: u64) -> Result<(), LimitReached> {
        self.take_kdf(limits, bytes)?;
        self.kdf_bytes.inc_by(bytes);
        Ok(())
    }

    /// Takes the further key derivation of a message that has begun.
    pub(super) fn continue_kdf(&self, limits: &Limits, bytes: u64) {
        if let Some(rate) = limits.kdf_rate() {
            self.kdf_load.charge(rate, bytes, rate::now());
        }
        self.kdf_bytes.inc_by(bytes);
    }

    /// Counts a request that the store rejected because the maximum number of requests wait for a signature, and
    /// returns the limit.
    pub(super) fn count_pending(&self, limits: &Limits, wait: Duration) -> LimitReached {
        self.count_limited(LimitReached {
            limit: KeyLimit::PendingMax,
            quota: limits.pending_max.unwrap_or_default().into(),
            window: None,
            wait: Some(wait),
        })
    }

    fn take_kdf(&self, limits: &Limits, bytes: u64) -> Result<(), LimitReached> {
        let Some(rate) = limits.kdf_rate() else {
            return Ok(());
        };
        let taken = self.kdf_load.take(rate, 1, bytes, rate::now());
        taken.map_err(|wait| {
            self.count_limited(LimitReached::of_rate(KeyLimit::KdfRate, rate, wait))
        })
    }

    fn count_limited(&self, reached: LimitReached) -> LimitReached {
        self.limited[reached.limit as usize].inc();
        reached
    }
}

/// A request that is being handled. It counts towards the concurrent requests of its key until it is dropped.
#[derive(Debug)]
pub(crate) struct RunningRequest(Arc<Usage>);

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.0.running.dec();
    }
}

type Labels<const N: usize> = [(&'static str, String); N];

/// The use of the keys of all entries. Its metrics have the names of the active entries, whose number is limited.
#[derive(Debug, Clone, Default)]
pub(super) struct Usages {
    by_name: Arc<Mutex<HashMap<String, Arc<Usage>>>>,
    requests: Family<Labels<1>, Counter>,
    rejections: Family<Labels<1>, Counter>,
    limited: Family<Labels<2>, Counter>,
    running: Family<Labels<1>, Gauge>,
    kdf_bytes: Family<Labels<1>, Counter>,
}

impl Usages {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let usages = Self::default();
        registry.register(
            "access_key_requests",
            "Requests that were admitted, by the name of the entry of access keys",
            usages.requests.clone(),
        );
        registry.register(
            "access_key_rejections",
            "Requests with a valid access key without the scope, by the name of the entry",
            usages.rejections.clone(),
        );
        registry.register(
            "access_key_limited",
            "Requests that exceeded a limit of their access key, by limit and by the name of the entry",
            usages.limited.clone(),
        );
        registry.register(
            "access_key_requests_running",
            "Requests with a valid access key that are being handled, by the name of the entry",
            usages.running.clone(),
        );
        registry.register_with_unit(
            "access_key_kdf",
            "Bytes of key derivation, by the name of the entry of access keys",
            Unit::Bytes,
            usages.kdf_bytes.clone(),
        );
        usages
    }

    /// Returns the use of each of these entries, in their order. Entries that are new begin at zero. Entries that are
    /// not listed are forgotten, with their metrics and the loads of their limits.
    pub(super) fn of<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Arc<Usage>> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = names.collect();
        let current: HashSet<_> = names.iter().copied().collect();
        by_name.retain(|name, _| {
            let is_current = current.contains(name.as_str());
            if !is_current {
                self.remove(name);
            }
            is_current
        });
        let usages = names.into_iter().map(|name| {
            let usage = by_name
                .entry(name.to_owned())
                .or_insert_with(|| Arc::new(self.create(name)));
            Arc::clone(usage)
        });
        usages.collect()
    }

    fn create(&self, name: &str) -> Usage {
        Usage {
            requests: self.requests.get_or_create_owned(&labels(name)),
            rejections: self.rejections.get_or_create_owned(&labels(name)),
            limited: KeyLimit::ALL
                .map(|limit| self.limited.get_or_create_owned(&with_limit(name, limit))),
            running: self.running.get_or_create_owned(&labels(name)),
            kdf_bytes: self.kdf_bytes.get_or_create_owned(&labels(name)),
            ..Usage::default()
        }
    }

    fn remove(&self, name: &str) {
        let one = labels(name);
        self.requests.remove(&one);
        self.rejections.remove(&one);
        self.running.remove(&one);
        self.kdf_bytes.remove(&one);
        for limit in KeyLimit::ALL {
            self.limited.remove(&with_limit(name, limit));
        }
    }
}

fn labels(name: &str) -> Labels<1> {
    [("name", name.to_owned())]
}

fn with_limit(name: &str, limit: KeyLimit) -> Labels<2> {
    [
        ("name", name.to_owned()),
        ("limit", limit.name().to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_http::ByteSize;

    #[test]
    fn use_continues_while_the_entry_exists() {
        let usages = Usages::default();
        let at =
            |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(1000 * seconds + 500);
        let of = |names: &[&str]| usages.of(names.iter().copied());
        let first = of(&["a", "b"]);
        assert_eq!(first[0].last_used(), None);
        first[0].count(Outcome::Admitted, at(10));
        first[0].count(Outcome::Rejected, at(20));
        first[0].count(Outcome::Admitted, at(15));
        let again = of(&["c", "a"]);
        assert_eq!(again[1].requests.get(), 2);
        assert_eq!(again[1].rejections.get(), 1);
        let last = SystemTime::UNIX_EPOCH + Duration::from_secs(20);
        assert_eq!(again[1].last_used(), Some(last));
        assert_eq!(again[0].requests.get(), 0);
        of(&[]);
        assert_eq!(of(&["a"])[0].requests.get(), 0);
    }

    #[test]
    fn metrics_have_the_names_of_current_entries_only() {
        let mut registry = Registry::default();
        let usages = Usages::register(&mut registry);
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry)
                .expect("metrics should be encoded");
            text
        };
        usages.of(["a", "b"].into_iter())[1].count(Outcome::Admitted, SystemTime::now());
        assert!(text().contains("access_key_requests_total{name=\"b\"} 1"));
        assert!(text().contains("access_key_limited_total{name=\"b\",limit=\"kdf_rate\"} 0"));
        usages.of(["a"].into_iter());
        assert!(text().contains("{name=\"a\"} 0") && !text().contains("name=\"b\""));
    }

    #[test]
    fn concurrent_requests_are_limited_until_one_ends() {
        let usage = Arc::new(Usage::default());
        let limits = Limits {
            requests_max: Some(2),
            ..Limits::default()
        };
        let first = usage.begin(&limits).expect("request should begin");
        let _second = usage.begin(&limits).expect("request should begin");
        for _ in 0..3 {
            let reached = usage.begin(&limits).expect_err("limit should be reached");
            assert_eq!((reached.limit, reached.quota), (KeyLimit::RequestsMax, 2));
        }
        assert_eq!(usage.limited(), 3);
        drop(first);
        let _third = usage.begin(&limits).expect("request should begin");
        assert!(usage.begin(&limits).is_err());
    }

    #[test]
    fn load_of_an_entry_stays_when_its_limits_change() {
        let usages = Usages::default();
        let begin = |burst| {
            let limits = Limits {
                request_rate: Some(1),
                request_burst: Some(burst),
                ..Limits::default()
            };
            let usage = &usages.of(["a"].into_iter())[0];
            usage.change_limits(&limits);
            usage.begin(&limits)
        };
        assert!(begin(1).is_ok());
        let reached = begin(1).expect_err("limit should be reached");
        assert_eq!(reached.limit, KeyLimit::RequestRate);
        // The first request counts under the new limits too.
        assert!(begin(2).is_ok());
        assert!(begin(2).is_err());
    }

    #[test]
    fn message_that_has_begun_may_exceed_the_rate_of_key_derivation() {
        let usage = Usage::default();
        let limits = Limits {
            kdf_rate: Some(ByteSize::new(1000)),
            ..Limits::default()
        };
        assert_eq!(usage.check_kdf(&limits), Ok(()));
        assert_eq!(usage.begin_kdf(&limits, 600), Ok(()));
        usage.continue_kdf(&limits, 600);
        let reached = usage.begin_kdf(&limits, 1).expect_err("limit is reached");
        assert_eq!((reached.limit, reached.quota), (KeyLimit::KdfRate, 1000));
        // 200 bytes too many are paid off in 12 s.
        let wait = reached.wait.expect("the wait should be known");
        assert!((11..=13).contains(&wait.as_secs()), "{wait:?}");
        assert!(usage.check_kdf(&limits).is_err());
        assert_eq!(usage.kdf_bytes.get(), 1200);
        assert_eq!(usage.check_kdf(&Limits::default()), Ok(()));
    }
}
