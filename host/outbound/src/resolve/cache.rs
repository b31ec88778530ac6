//! Results of DNS queries, kept for their TTL.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Maximum time for which a result is kept. The TTL of the records may be shorter, or zero.
pub(super) const TTL_MAX: Duration = Duration::from_mins(5);

/// Maximum number of names. Further names are not kept until others expire.
const NAMES_MAX: usize = 1024;

/// The addresses of names.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    addresses: Vec<IpAddr>,
    until: Instant,
}

impl Cache {
    /// Returns the addresses of a name, if they are kept and valid at `now`.
    pub(super) fn get(&self, name: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(name).filter(|entry| now < entry.until)?;
        Some(entry.addresses.clone())
    }

    /// Keeps the addresses of a name for `ttl`, at most [`TTL_MAX`].
    pub(super) fn put(&self, name: &str, addresses: &[IpAddr], ttl: Duration, now: Instant) {
        if ttl.is_zero() {
            return;
        }
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= NAMES_MAX {
            entries.retain(|_, entry| now < entry.until);
        }
        if entries.len() < NAMES_MAX || entries.contains_key(name) {
            let entry = Entry {
                addresses: addresses.to_vec(),
                until: now + ttl.min(TTL_MAX),
            };
            entries.insert(name.to_owned(), entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn addresses_are_kept_for_their_ttl_up_to_maximum() {
        let (cache, start) = (Cache::default(), Instant::now());
        let addresses = [IpAddr::from([10, 0, 0, 1])];
        assert_eq!(cache.get("a", start), None);
        cache.put("a", &addresses, Duration::ZERO, start);
        assert_eq!(cache.get("a", start), None);
        for (ttl, kept) in [(5 * SECOND, 5 * SECOND), (2 * TTL_MAX, TTL_MAX)] {
            cache.put("a", &addresses, ttl, start);
            let last = kept.saturating_sub(Duration::from_millis(1));
            assert_eq!(cache.get("a", start + last), Some(addresses.to_vec()));
            assert_eq!(cache.get("a", start + kept), None);
        }
        assert_eq!(cache.get("b", start), None);
    }

    #[test]
    fn number_of_names_is_limited() {
        let (cache, start) = (Cache::default(), Instant::now());
        let addresses = [IpAddr::from([10, 0, 0, 1])];
        for number in 0..=NAMES_MAX {
            cache.put(&number.to_string(), &addresses, SECOND, start);
        }
        assert!(cache.get("0", start).is_some());
        assert_eq!(cache.get(&NAMES_MAX.to_string(), start), None);
        // Expired names make place for others.
        cache.put("new", &addresses, SECOND, start + SECOND);
        assert!(cache.get("new", start + SECOND).is_some());
    }
}
