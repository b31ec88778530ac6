//! Counts arrivals in sliding windows, exact to the microsecond.

use super::record::Arrival;
use std::collections::VecDeque;
use std::time::Duration;

/// Returns the maximum number of arrivals in any window. Two arrivals exactly one window apart are
/// not in the same window.
pub fn max_in_window(arrivals: &[Arrival], window: Duration) -> usize {
    let mut times: Vec<_> = arrivals.iter().map(|arrival| arrival.at).collect();
    times.sort_unstable();
    let mut first = 0;
    let mut fullest = 0;
    for (last, time) in times.iter().enumerate() {
        while first < last && *time >= times[first] + window {
            first += 1;
        }
        fullest = fullest.max(last + 1 - first);
    }
    fullest
}

/// A number of calls in any window. Every arrival counts, including rejected ones.
pub(crate) struct Quota {
    pub(crate) calls: usize,
    pub(crate) window: Duration,
    /// The arrivals that may share a window with a later one.
    recent: VecDeque<Duration>,
}

impl Quota {
    pub(crate) fn new(calls: usize, window: Duration) -> Self {
        let recent = VecDeque::new();
        Self {
            calls,
            window,
            recent,
        }
    }

    /// Counts an arrival. If it exceeds the quota, returns the time until a call would be accepted.
    pub(crate) fn arrive(&mut self, now: Duration) -> Option<Duration> {
        while self.recent.front().is_some_and(|t| now >= *t + self.window) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let too_many = self.recent.len().checked_sub(self.calls)?;
        if too_many == 0 {
            return None;
        }
        let gone_by = self.recent.get(too_many).unwrap_or(&now);
        Some((*gone_by + self.window).saturating_sub(now))
    }

    /// Returns the number of arrivals in the window that ends with the last one.
    pub(crate) fn in_window(&self) -> usize {
        self.recent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Kind, Outcome};
    use super::*;
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    const WINDOW: Duration = Duration::from_mins(1);

    fn micros(times: &[u64]) -> Vec<Duration> {
        times.iter().map(|at| Duration::from_micros(*at)).collect()
    }

    fn fullest(times: &[Duration], window: Duration) -> usize {
        let arrivals: Vec<_> = times
            .iter()
            .map(|at| Arrival {
                seq: 0,
                at: *at,
                kind: Kind::Sign,
                message: None,
                traceparent: None,
                status: Outcome::Answered(200),
                mode: None,
                over_quota: false,
            })
            .collect();
        max_in_window(&arrivals, window)
    }

    #[test]
    fn zero_and_one_arrival_are_counted() {
        assert_eq!(fullest(&[], WINDOW), 0);
        assert_eq!(fullest(&micros(&[5]), WINDOW), 1);
    }

    #[test]
    fn arrivals_a_window_apart_count_separately() {
        assert_eq!(fullest(&micros(&[7, 60_000_007]), WINDOW), 1);
        assert_eq!(fullest(&micros(&[7, 60_000_006]), WINDOW), 2);
    }

    #[test]
    fn fullest_window_may_start_anywhere() {
        let times = micros(&[
            0,
            59_000_000,
            61_000_000,
            62_000_000,
            118_999_999,
            130_000_000,
        ]);
        assert_eq!(fullest(&times, WINDOW), 4);
        let mut shuffled = times;
        shuffled.reverse();
        assert_eq!(fullest(&shuffled, WINDOW), 4);
    }

    #[test]
    fn simultaneous_arrivals_share_the_shortest_window() {
        assert_eq!(fullest(&micros(&[3, 3, 3, 4]), Duration::from_micros(1)), 3);
    }

    /// The definition: for every arrival, count the arrivals less than a window later.
    #[test]
    fn max_in_window_matches_its_definition() {
        for seed in 0..200 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let many = random.gen_range(1..60);
            let times: Vec<_> = (0..many).map(|_| random.gen_range(0..400)).collect();
            let times = micros(&times);
            let window = Duration::from_micros(random.gen_range(1..120));
            let by_definition = times
                .iter()
                .map(|from| {
                    let within = |at: &&Duration| **at >= *from && **at < *from + window;
                    times.iter().filter(within).count()
                })
                .max();
            assert_eq!(Some(fullest(&times, window)), by_definition, "seed {seed}");
        }
    }

    #[test]
    fn quota_limit_is_exact_to_the_microsecond() {
        let mut quota = Quota::new(2, WINDOW);
        let at = |micros| Duration::from_micros(micros);
        assert_eq!(quota.arrive(at(10)), None);
        assert_eq!(quota.arrive(at(20)), None);
        // This call is one microsecond early. When the first call leaves the window, this one is
        // still in it together with the second.
        assert_eq!(quota.arrive(at(60_000_009)), Some(at(11)));
        // Rejected calls count too. Two of them are still in the window, and this call is the
        // third.
        assert_eq!(quota.arrive(at(60_000_010)), Some(at(59_999_999)));
        assert_eq!(quota.arrive(at(120_000_009)), None);
        assert_eq!(quota.in_window(), 2);
    }

    #[test]
    fn caller_that_waits_for_the_quota_is_admitted() {
        for seed in 0..200 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut quota = Quota::new(random.gen_range(1..6), Duration::from_micros(100));
            let mut now = Duration::ZERO;
            for _ in 0..50 {
                now += Duration::from_micros(random.gen_range(0..40));
                if let Some(wait) = quota.arrive(now) {
                    now += wait;
                    assert_eq!(quota.arrive(now), None, "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn quota_of_zero_rejects_every_call() {
        let mut quota = Quota::new(0, WINDOW);
        assert_eq!(quota.arrive(Duration::ZERO), Some(WINDOW));
    }
}
