//! Rates by the generic cell rate algorithm (GCRA). The load of each caller is one number, which changes without a lock.
//!
//! The crate `governor` has the same algorithm. It was not chosen for three reasons: a limiter of that crate has a fixed
//! rate, so that a change of the file of access keys would forget the load so far; it always rejects a cost above
//! the burst; and it counts up to 2^32 units, whereas a minute has more bytes of key derivation.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A maximum rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// Units per [`Self::window`], at least 1.
    pub(super) units: u64,
    /// Whole seconds.
    pub(super) window: Duration,
    /// Units that may be taken at once after a pause, at least 1.
    pub(super) burst: u64,
}

impl Rate {
    /// Returns the time in which the rate yields these units, in nanoseconds.
    fn time_of(self, units: u64) -> u64 {
        let time = u128::from(units) * self.window.as_nanos() / u128::from(self.units.max(1));
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// Returns the time in which the rate yields a whole burst.
    pub(super) fn burst_time(self) -> Duration {
        Duration::from_nanos(self.time_of(self.burst))
    }
}

/// The load of one caller.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// The time until which the units taken so far use up the rate, in nanoseconds of [`now`].
    used_until: AtomicU64,
}

impl Load {
    /// Takes `cost` units if at least `required` units are available. If `cost` is larger, the load then exceeds the
    /// rate, and later calls wait until it is paid off.
    ///
    /// # Errors
    /// The time until the required units will be available.
    pub(super) fn take(
        &self,
        rate: Rate,
        required: u64,
        cost: u64,
        now: u64,
    ) -> Result<(), Duration> {
        let (burst, required) = (rate.time_of(rate.burst), rate.time_of(required));
        let taken =
            self.used_until
                .try_update(Ordering::Relaxed, Ordering::Relaxed, |used_until| {
                    let used = used_until.saturating_sub(now).saturating_add(required);
                    (used <= burst).then(|| used_until.max(now).saturating_add(rate.time_of(cost)))
                });
        taken.map(drop).map_err(|used_until| {
            let used = used_until.saturating_sub(now).saturating_add(required);
            Duration::from_nanos(used.saturating_sub(burst))
        })
    }

    /// Takes `cost` units, whether or not they are available.
    pub(super) fn charge(&self, rate: Rate, cost: u64, now: u64) {
        let cost = rate.time_of(cost);
        let _infallible =
            self.used_until
                .try_update(Ordering::Relaxed, Ordering::Relaxed, |used_until| {
                    Some(used_until.max(now).saturating_add(cost))
                });
    }

    /// Converts the load when the rate changes, so that the units taken so far still count.
    pub(super) fn change_rate(&self, old: Rate, new: Rate, now: u64) {
        let _infallible =
            self.used_until
                .try_update(Ordering::Relaxed, Ordering::Relaxed, |used_until| {
                    // Whole seconds keep the product below 2^128, and no part of a unit is lost.
                    let units = u128::from(used_until.saturating_sub(now)) * u128::from(old.units);
                    let windows = [new, old].map(|rate| u128::from(rate.window.as_secs().max(1)));
                    let left = units.saturating_mul(windows[0])
                        / (windows[1] * u128::from(new.units.max(1)));
                    let left = u64::try_from(left).unwrap_or(u64::MAX);
                    Some(now.saturating_add(left))
                });
    }

    /// Returns whether a whole burst is available, as for a caller that was never seen.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        self.used_until.load(Ordering::Relaxed) <= now
    }
}

/// Returns the time since the first call, in nanoseconds. The clock never goes backwards.
pub(super) fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(units: u64, burst: u64) -> Rate {
        Rate {
            units,
            window: Duration::from_secs(1),
            burst,
        }
    }

    #[test]
    fn burst_is_followed_by_the_rate() {
        let (load, rate) = (Load::default(), rate(10, 3));
        let take = |now| load.take(rate, 1, 1, now);
        for _ in 0..3 {
            assert_eq!(take(SECOND), Ok(()));
        }
        assert_eq!(take(SECOND), Err(Duration::from_millis(100)));
        assert_eq!(take(SECOND + 99_999_999), Err(Duration::from_nanos(1)));
        assert_eq!(take(SECOND + 100_000_000), Ok(()));
        assert!(take(SECOND + 100_000_000).is_err());
        let admitted = (1..=1000).filter(|step| take(2 * SECOND + step * SECOND / 100).is_ok());
        // 10 s at 10 per second, and what was left of the burst.
        assert_eq!(admitted.count(), 102);
        assert!(load.is_idle(20 * SECOND) && !load.is_idle(12 * SECOND));
    }

    #[test]
    fn large_cost_is_taken_once_and_paid_off_later() {
        let (load, rate) = (Load::default(), rate(100, 100));
        assert_eq!(load.take(rate, 1, 1000, SECOND), Ok(()));
        let wait = Duration::from_millis(9010);
        assert_eq!(load.take(rate, 1, 1, SECOND), Err(wait));
        load.charge(rate, 100, SECOND);
        let wait = Duration::from_millis(10_010);
        assert_eq!(load.take(rate, 1, 1, SECOND), Err(wait));
        assert_eq!(load.take(rate, 1, 1, 12 * SECOND), Ok(()));
    }

    #[test]
    fn changed_rate_keeps_the_units() {
        let load = Load::default();
        let (slow, fast) = (rate(1, 5), rate(100, 6));
        for _ in 0..5 {
            assert_eq!(load.take(slow, 1, 1, SECOND), Ok(()));
        }
        assert_eq!(load.take(slow, 1, 1, SECOND), Err(Duration::from_secs(1)));
        load.change_rate(slow, fast, SECOND);
        assert_eq!(load.take(fast, 1, 1, SECOND), Ok(()));
        assert_eq!(
            load.take(fast, 1, 1, SECOND),
            Err(Duration::from_millis(10))
        );
        load.change_rate(fast, slow, SECOND);
        assert_eq!(load.take(slow, 1, 1, SECOND), Err(Duration::from_secs(2)));
        // Half a unit stays half a unit.
        load.change_rate(slow, fast, 6 * SECOND + SECOND / 2);
        let (full, now) = (rate(100, 1), 6 * SECOND + SECOND / 2);
        assert_eq!(load.take(full, 1, 1, now), Err(Duration::from_millis(5)));
    }

    #[test]
    fn largest_rates_and_costs_do_not_overflow() {
        let load = Load::default();
        let rate = Rate {
            units: 1,
            window: Duration::from_mins(1),
            burst: u64::MAX,
        };
        assert_eq!(load.take(rate, 1, u64::MAX, u64::MAX), Ok(()));
        load.charge(rate, u64::MAX, u64::MAX);
        load.change_rate(rate, rate, 0);
        assert!(load.is_idle(u64::MAX));
        let rate = Rate {
            units: u64::MAX,
            ..rate
        };
        assert!(rate.burst_time() >= Duration::from_secs(59));
    }
}
