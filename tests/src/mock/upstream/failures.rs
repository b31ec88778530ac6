//! Decides which messages fail to be signed, and for how long.

use super::super::connection::Response;
use super::super::seeded_random::SeededRandom;
use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

/// A range of durations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DurationRange {
    min: Duration,
    max: Duration,
}

impl DurationRange {
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self {
            min: self.min.mul_f64(factor),
            max: self.max.mul_f64(factor),
        }
    }

    pub(crate) fn pick(self, random: &mut SeededRandom) -> Duration {
        self.min + self.max.saturating_sub(self.min).mul_f64(random.draw())
    }
}

/// Parses `30s..180s`, or a single duration.
impl FromStr for DurationRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let time = |text| humantime::parse_duration(text).map_err(|error| error.to_string());
        let (min, max) = (time(min)?, time(max)?);
        if min > max {
            return Err("the minimum must not exceed the maximum, as in 30s..180s".to_owned());
        }
        Ok(Self { min, max })
    }
}

/// The failure state of each message. Messages fail independently of each other.
pub(crate) struct FailureModel {
    seed: u64,
    fail: f64,
    degraded: DurationRange,
    messages: HashMap<String, MessageState>,
}

#[derive(Default)]
struct MessageState {
    /// How many times a random draw was made for the message.
    draws: u64,
    degraded_until: Duration,
}

impl FailureModel {
    pub(crate) fn new(seed: u64, fail: f64, degraded: DurationRange) -> Self {
        Self {
            seed,
            fail,
            degraded,
            messages: HashMap::new(),
        }
    }

    /// Returns the failure response for a message, or `None` if signing succeeds.
    pub(crate) fn fails(&mut self, message: &str, now: Duration) -> Option<Response> {
        let state = self.messages.entry(message.to_owned()).or_default();
        if now >= state.degraded_until {
            let mut random = SeededRandom::of(self.seed, message.as_bytes(), state.draws);
            state.draws += 1;
            if !random.happens(self.fail) {
                return None;
            }
            state.degraded_until = now + self.degraded.pick(&mut random);
        }
        // The real upstream returns both.
        let response = if state.draws.is_multiple_of(2) {
            Response::text(502, "the signing machine does not respond\n")
        } else {
            let page = "<html><head><title>502 Bad Gateway</title></head></html>\n";
            Response::html(502, page)
        };
        Some(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failures(seed: u64, fail: f64) -> FailureModel {
        FailureModel::new(
            seed,
            fail,
            "30s..180s".parse().expect("range should be valid"),
        )
    }

    #[test]
    fn duration_ranges_are_parsed() {
        let span = |min, max| DurationRange {
            min: Duration::from_millis(min),
            max: Duration::from_millis(max),
        };
        assert_eq!("30s..3m".parse(), Ok(span(30_000, 180_000)));
        assert_eq!("5ms".parse(), Ok(span(5, 5)));
        for wrong in ["", "5", "9s..8s", "1s..", "1s..2s..3s"] {
            assert!(wrong.parse::<DurationRange>().is_err(), "{wrong}");
        }
        assert_eq!(span(100, 300).scaled(0.1), span(10, 30));
    }

    #[test]
    fn half_of_the_messages_fail_at_first() {
        let mut failures = failures(1, 0.5);
        let failed = (0..2000)
            .filter(|n| failures.fails(&format!("message {n}"), SECOND).is_some())
            .count();
        // The bounds are five standard deviations.
        assert!((889..1111).contains(&failed), "{failed}");
    }

    /// A failing message keeps failing for 30 to 180 s, and then recovers.
    #[test]
    fn failing_message_recovers_within_its_range() {
        let mut failures = failures(2, 0.5);
        let mut recovered = 0;
        let mut spans = Vec::new();
        for n in 0..200 {
            let message = format!("message {n}");
            let mut now = SECOND;
            if failures.fails(&message, now).is_none() {
                continue;
            }
            let end = failures.messages[&message].degraded_until;
            let draws = failures.messages[&message].draws;
            spans.push(end.saturating_sub(now));
            while now < end {
                assert!(
                    failures.fails(&message, now).is_some(),
                    "{message} at {now:?}"
                );
                now += SECOND;
            }
            assert_eq!(failures.messages[&message].draws, draws);
            let mut attempts = 0;
            while failures.fails(&message, now).is_some() {
                now = failures.messages[&message].degraded_until;
                attempts += 1;
                assert!(attempts < 30, "{message}");
            }
            recovered += 1;
        }
        assert!(recovered > 60);
        let (min, max) = (30 * SECOND, 180 * SECOND);
        assert!(spans.iter().all(|span| (min..max).contains(span)));
        let short = spans.iter().filter(|span| **span < 105 * SECOND).count();
        assert!(short > spans.len() / 4 && short < spans.len() * 3 / 4);
    }

    #[test]
    fn same_seed_gives_the_same_failures_in_any_order() {
        let messages: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        let fails = |failures: &mut FailureModel, message: &String| {
            failures.fails(message, SECOND).is_some()
        };
        let (mut one, mut other) = (failures(3, 0.5), failures(3, 0.5));
        let forwards: Vec<_> = messages.iter().map(|m| fails(&mut one, m)).collect();
        let mut backwards: Vec<_> = messages
            .iter()
            .rev()
            .map(|m| fails(&mut other, m))
            .collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        let mut third = failures(4, 0.5);
        let otherwise: Vec<_> = messages.iter().map(|m| fails(&mut third, m)).collect();
        assert_ne!(forwards, otherwise);
    }

    #[test]
    fn probability_0_never_fails_and_1_always_fails() {
        for (fail, expected) in [(0.0, 0), (1.0, 100)] {
            let mut failures = failures(5, fail);
            let failed = (0..100)
                .filter(|n| failures.fails(&n.to_string(), SECOND).is_some())
                .count();
            assert_eq!(failed, expected);
        }
    }
}
