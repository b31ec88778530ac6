//! A simulated upstream: its faults, and its own log of calls.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// The behaviour of the upstream, the same for all calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    Hangs,
    Resets,
    Garbage,
    WrongKey,
    TooMany,
}

/// The reaction of the upstream to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reaction {
    Response {
        status: u16,
        retry_after: Option<String>,
        body: Vec<u8>,
        after_ms: i64,
    },
    Reset,
    Silence,
}

pub(crate) struct Upstream {
    chance: ChaCha8Rng,
    /// Probability that a message fails at first.
    pub(crate) fails: f64,
    degraded_until: BTreeMap<String, i64>,
    pub(crate) weather: Weather,
    pub(crate) think_ms: i64,
    /// Arrival time of each call.
    pub(crate) arrivals: Vec<i64>,
    /// Arrival time and message of each call to sign.
    pub(crate) calls: Vec<(i64, String)>,
    pub(crate) signed: BTreeMap<String, u32>,
}

impl Upstream {
    pub(crate) fn new(chance: ChaCha8Rng) -> Self {
        Self {
            chance,
            fails: 0.5,
            degraded_until: BTreeMap::new(),
            weather: Weather::Fair,
            think_ms: 300,
            arrivals: Vec::new(),
            calls: Vec::new(),
            signed: BTreeMap::new(),
        }
    }

    /// Records a call with the path and query `target`, and returns the reaction.
    pub(crate) fn arrive(&mut self, now_ms: i64, target: &str) -> Reaction {
        self.arrivals.push(now_ms);
        if let Some(message) = target.strip_prefix("/crypto/sign?message=") {
            self.calls.push((now_ms, message.to_owned()));
        }
        let after_ms = self.chance.gen_range(1..=2 * self.think_ms);
        let response = |status: u16, retry_after: Option<&str>, body: &str| Reaction::Response {
            status,
            retry_after: retry_after.map(str::to_owned),
            body: body.as_bytes().to_vec(),
            after_ms,
        };
        match self.weather {
            Weather::Hangs => return Reaction::Silence,
            Weather::Resets => return Reaction::Reset,
            Weather::Garbage => return response(200, None, "<html>it works</html>"),
            Weather::WrongKey => return response(401, None, "who are you?"),
            Weather::TooMany => return response(429, Some("17"), "slower"),
            Weather::Fair => {}
        }
        let message = target.strip_prefix("/crypto/sign?message=");
        let Some(message) = message else {
            return response(200, None, "welcome");
        };
        let until = if let Some(until) = self.degraded_until.get(message) {
            *until
        } else {
            let degraded = self.chance.gen_bool(self.fails);
            let until = now_ms + self.chance.gen_range(30_000..180_000);
            let until = if degraded { until } else { 0 };
            self.degraded_until.insert(message.to_owned(), until);
            until
        };
        if now_ms < until {
            return response(502, None, "bad gateway");
        }
        if message.starts_with("refused") {
            return response(422, None, "not this one");
        }
        *self.signed.entry(message.to_owned()).or_default() += 1;
        response(200, None, &signature(message))
    }
}

/// Returns the signature of a message: a text of the expected form, different for each message.
pub(crate) fn signature(message: &str) -> String {
    let hex = message.bytes().map(|byte| format!("{byte:02x}"));
    let mut text: String = hex.collect();
    while text.len() < 344 {
        text.push('A');
    }
    text.truncate(344);
    text
}

/// Returns the maximum number of arrivals in any window `[t, t + window)`.
pub(crate) fn max_in_window(arrivals: &[i64], window_ms: i64) -> usize {
    let mut sorted = arrivals.to_vec();
    sorted.sort_unstable();
    let mut first = 0;
    let mut max = 0;
    for (last, at) in sorted.iter().enumerate() {
        while sorted[first] <= at - window_ms {
            first += 1;
        }
        max = max.max(last + 1 - first);
    }
    max
}

#[test]
fn windows_are_exact_to_the_millisecond() {
    assert_eq!(max_in_window(&[], 10), 0);
    assert_eq!(max_in_window(&[0, 10, 20], 10), 1);
    assert_eq!(max_in_window(&[0, 9, 20], 10), 2);
    assert_eq!(max_in_window(&[20, 1, 0, 9, 10], 10), 3);
}
