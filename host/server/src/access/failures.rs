//! Failed attempts to use the server without a valid key, by the address of the client.

use super::rate::{self, Load, Rate};
use crate::client_address::ClientNetwork;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Minimum time between two searches for addresses that can be forgotten, in nanoseconds.
const SWEEP_INTERVAL: u64 = 1_000_000_000;

/// A limit on the rate of failed attempts of each address. Requests with a valid key do not count.
pub(super) struct FailureLimit {
    rate: Rate,
    addresses_max: usize,
    table: Mutex<Table>,
    /// The number of addresses in the table.
    addresses: Gauge,
}

#[derive(Default)]
struct Table {
    loads: HashMap<ClientNetwork, Load>,
    /// The load of all addresses for which the table had no space.
    others: Load,
    /// The earliest time of the next search, in nanoseconds of [`rate::now`].
    sweep_at: u64,
}

impl FailureLimit {
    /// Allows `per_minute` failed attempts of each address, also at once. Addresses beyond `addresses_max` share one
    /// limit.
    pub(super) fn new(per_minute: u32, addresses_max: u32, addresses: Gauge) -> Self {
        Self {
            rate: Rate {
                units: per_minute.into(),
                window: Duration::from_mins(1),
                burst: per_minute.into(),
            },
            addresses_max: addresses_max as usize,
            table: Mutex::default(),
            addresses,
        }
    }

    /// Counts a failed attempt.
    ///
    /// # Errors
    /// The time until the next attempt is allowed, if there were too many.
    pub(super) fn count(&self, from: ClientNetwork) -> Result<(), Duration> {
        self.count_at(from, rate::now())
    }

    fn count_at(&self, from: ClientNetwork, now: u64) -> Result<(), Duration> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Table {
            loads,
            others,
            sweep_at,
        } = &mut *table;
        if loads.len() >= self.addresses_max && !loads.contains_key(&from) && now >= *sweep_at {
            *sweep_at = now.saturating_add(SWEEP_INTERVAL);
            loads.retain(|_, load| !load.is_idle(now));
        }
        let load = if loads.len() < self.addresses_max || loads.contains_key(&from) {
            loads.entry(from).or_default()
        } else {
            others
        };
        let taken = load.take(self.rate, 1, 1, now);
        self.addresses
            .set(i64::try_from(loads.len()).unwrap_or(i64::MAX));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn client(number: u32) -> ClientNetwork {
        ClientNetwork::of(Some(IpAddr::V4(Ipv4Addr::from_bits(number))))
    }

    #[test]
    fn failures_are_limited_by_address() {
        let limit = FailureLimit::new(3, 10, Gauge::default());
        for _ in 0..3 {
            assert_eq!(limit.count_at(client(1), 0), Ok(()));
        }
        assert_eq!(limit.count_at(client(1), 0), Err(Duration::from_secs(20)));
        assert_eq!(limit.count_at(client(2), 0), Ok(()));
        assert_eq!(limit.count_at(client(1), 20_000_000_000), Ok(()));
    }

    #[test]
    fn table_is_bounded_and_forgets_idle_addresses() {
        let addresses = Gauge::default();
        let limit = FailureLimit::new(2, 10, addresses.clone());
        for number in 0..10 {
            assert_eq!(limit.count_at(client(number), 0), Ok(()));
        }
        // The others share two attempts.
        assert_eq!(limit.count_at(client(10), 0), Ok(()));
        assert_eq!(limit.count_at(client(11), 0), Ok(()));
        assert!(limit.count_at(client(12), 0).is_err());
        assert_eq!(addresses.get(), 10);
        // A known address keeps its own limit.
        assert_eq!(limit.count_at(client(3), 0), Ok(()));
        assert!(limit.count_at(client(3), 0).is_err());
        // After 30 s, only the address with two attempts is not idle.
        assert_eq!(limit.count_at(client(12), 31_000_000_000), Ok(()));
        assert_eq!(addresses.get(), 2);
    }
}
