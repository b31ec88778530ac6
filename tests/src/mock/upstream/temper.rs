//! Which messages fail to be signed, and for how long.

use super::super::chance::Chance;
use super::super::wire::Response;
use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

/// From one time to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Span {
    min: Duration,
    max: Duration,
}

impl Span {
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self {
            min: self.min.mul_f64(factor),
            max: self.max.mul_f64(factor),
        }
    }

    pub(crate) fn pick(self, chance: &mut Chance) -> Duration {
        self.min + self.max.saturating_sub(self.min).mul_f64(chance.draw())
    }
}

/// `30s..180s`, or one time for both.
impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let time = |text| humantime::parse_duration(text).map_err(|error| error.to_string());
        let (min, max) = (time(min)?, time(max)?);
        if min > max {
            return Err("from the shorter to the longer, as in 30s..180s".to_owned());
        }
        Ok(Self { min, max })
    }
}

/// Each message for itself: one that fails says nothing of others.
pub(crate) struct Temper {
    seed: u64,
    fail: f64,
    degraded: Span,
    messages: HashMap<String, Mood>,
}

#[derive(Default)]
struct Mood {
    /// How often it was left to chance.
    draws: u64,
    degraded_until: Duration,
}

impl Temper {
    pub(crate) fn new(seed: u64, fail: f64, degraded: Span) -> Self {
        Self {
            seed,
            fail,
            degraded,
            messages: HashMap::new(),
        }
    }

    /// The failure to answer a message with now, if it is to fail.
    pub(crate) fn fails(&mut self, message: &str, now: Duration) -> Option<Response> {
        let mood = self.messages.entry(message.to_owned()).or_default();
        if now >= mood.degraded_until {
            let mut chance = Chance::of(self.seed, message.as_bytes(), mood.draws);
            mood.draws += 1;
            if !chance.hits(self.fail) {
                return None;
            }
            mood.degraded_until = now + self.degraded.pick(&mut chance);
        }
        // Both are met in the wild.
        let response = if mood.draws.is_multiple_of(2) {
            Response::text(502, "the signing machine does not answer\n")
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

    fn temper(seed: u64, fail: f64) -> Temper {
        Temper::new(seed, fail, "30s..180s".parse().expect("a span"))
    }

    #[test]
    fn duration_ranges_are_parsed() {
        let span = |min, max| Span {
            min: Duration::from_millis(min),
            max: Duration::from_millis(max),
        };
        assert_eq!("30s..3m".parse(), Ok(span(30_000, 180_000)));
        assert_eq!("5ms".parse(), Ok(span(5, 5)));
        for wrong in ["", "5", "9s..8s", "1s..", "1s..2s..3s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
        assert_eq!(span(100, 300).scaled(0.1), span(10, 30));
    }

    #[test]
    fn half_of_the_messages_fail_at_first() {
        let mut temper = temper(1, 0.5);
        let failed = (0..2000)
            .filter(|n| temper.fails(&format!("message {n}"), SECOND).is_some())
            .count();
        // Five standard deviations.
        assert!((889..1111).contains(&failed), "{failed}");
    }

    /// Whoever fails goes on failing for 30 to 180 s and not longer, and then succeeds in time.
    #[test]
    fn failing_message_recovers_within_its_range() {
        let mut temper = temper(2, 0.5);
        let mut recovered = 0;
        let mut spans = Vec::new();
        for n in 0..200 {
            let message = format!("message {n}");
            let mut now = SECOND;
            if temper.fails(&message, now).is_none() {
                continue;
            }
            let end = temper.messages[&message].degraded_until;
            let draws = temper.messages[&message].draws;
            spans.push(end.saturating_sub(now));
            while now < end {
                assert!(
                    temper.fails(&message, now).is_some(),
                    "{message} at {now:?}"
                );
                now += SECOND;
            }
            assert_eq!(temper.messages[&message].draws, draws);
            let mut tries = 0;
            while temper.fails(&message, now).is_some() {
                now = temper.messages[&message].degraded_until;
                tries += 1;
                assert!(tries < 30, "{message}");
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
        let fails = |temper: &mut Temper, message: &String| temper.fails(message, SECOND).is_some();
        let (mut one, mut other) = (temper(3, 0.5), temper(3, 0.5));
        let forwards: Vec<_> = messages.iter().map(|m| fails(&mut one, m)).collect();
        let mut backwards: Vec<_> = messages
            .iter()
            .rev()
            .map(|m| fails(&mut other, m))
            .collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        let mut third = temper(4, 0.5);
        let otherwise: Vec<_> = messages.iter().map(|m| fails(&mut third, m)).collect();
        assert_ne!(forwards, otherwise);
    }

    #[test]
    fn probability_0_never_fails_and_1_always_fails() {
        for (fail, expected) in [(0.0, 0), (1.0, 100)] {
            let mut temper = temper(5, fail);
            let failed = (0..100)
                .filter(|n| temper.fails(&n.to_string(), SECOND).is_some())
                .count();
            assert_eq!(failed, expected);
        }
    }
}
