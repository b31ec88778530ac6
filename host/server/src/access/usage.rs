//! The use of access keys, by the name of their entry.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The use of the keys of one entry since the start of the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    /// Requests that were admitted.
    pub(super) requests: Counter,
    /// Requests with a valid key without the scope.
    pub(super) rejections: Counter,
    /// The time of the last request, in seconds since 1970. 0 if there was none.
    last_used: Arc<AtomicU64>,
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
}

type Labels = [(&'static str, String); 1];

/// The use of the keys of all entries. Its metrics have the names of the active entries, whose number is limited.
#[derive(Debug, Clone, Default)]
pub(super) struct Usages {
    by_name: Arc<Mutex<HashMap<String, Usage>>>,
    requests: Family<Labels, Counter>,
    rejections: Family<Labels, Counter>,
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
        usages
    }

    /// Returns the use of each of these entries, in their order. Entries that are new begin at zero. Entries that are
    /// not listed are forgotten, with their metrics.
    pub(super) fn of<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Usage> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = names.collect();
        let current: HashSet<_> = names.iter().copied().collect();
        by_name.retain(|name, _| {
            let is_current = current.contains(name.as_str());
            if !is_current {
                self.requests.remove(&labels(name));
                self.rejections.remove(&labels(name));
            }
            is_current
        });
        let usages = names.into_iter().map(|name| {
            let usage = by_name.entry(name.to_owned()).or_insert_with(|| Usage {
                requests: self.requests.get_or_create_owned(&labels(name)),
                rejections: self.rejections.get_or_create_owned(&labels(name)),
                last_used: Arc::default(),
            });
            usage.clone()
        });
        usages.collect()
    }
}

fn labels(name: &str) -> Labels {
    [("name", name.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

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
        usages.of(["a"].into_iter());
        assert!(text().contains("{name=\"a\"} 0") && !text().contains("name=\"b\""));
    }
}
