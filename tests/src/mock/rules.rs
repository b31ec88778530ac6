//! Faults, and the rules of the control interface that choose them.

use super::connection::SendMode;
use super::seeded_random::SeededRandom;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;

/// A way to misbehave.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// No fault.
    Normal,
    /// A given status.
    Status,
    /// Reads the request and never responds.
    Hang,
    /// Reads the request and resets the connection.
    Reset,
    /// Resets the connection before it reads a request. No arrival is recorded.
    ResetBefore,
    /// Sends the body byte by byte.
    Drip,
    /// Sends bytes that are not HTTP.
    Garbage,
    /// Sends half of the body and closes the connection.
    Half,
    /// Sends the response after a delay.
    Late,
    /// Sends the head byte by byte.
    SlowHeaders,
    /// Returns 200 with a signature that is not valid base64, because its end is missing.
    TruncatedBase64,
    /// Returns 200 with the signature of another message.
    WrongSignature,
    /// Returns 200 with an HTML page.
    #[serde(rename = "html-200")]
    Html200,
}

impl Fault {
    /// Returns whether the client gets no readable response.
    pub(crate) fn breaks(self) -> bool {
        match self {
            Self::Hang | Self::Reset | Self::ResetBefore | Self::Garbage | Self::Half => true,
            Self::Normal
            | Self::Status
            | Self::Drip
            | Self::Late
            | Self::SlowHeaders
            | Self::TruncatedBase64
            | Self::WrongSignature
            | Self::Html200 => false,
        }
    }

    fn is_about_signatures(self) -> bool {
        matches!(
            self,
            Self::TruncatedBase64 | Self::WrongSignature | Self::Html200
        )
    }
}

/// A fault, and the requests to which it applies.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The prefix of their paths.
    path: String,
    pub(crate) fault: Fault,
    pub(crate) status: Option<u16>,
    delay: Option<Duration>,
    pub(crate) retry_after: RetryAfter,
    pub(crate) location: Option<String>,
    /// The number of requests for which the rule remains in force.
    next: Option<u64>,
    probability: Option<f64>,
}

/// The `Retry-After` header of a rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum RetryAfter {
    /// The default of the mock.
    Default,
    Omitted,
    Fixed(String),
}

impl Rule {
    /// Returns how a response under this rule is sent. The default delays are 1 s per byte and 20 s
    /// for late responses, both scaled.
    pub(crate) fn send_mode(&self, scale: f64) -> SendMode {
        let delay = |seconds| {
            let default = Duration::from_secs(seconds).mul_f64(scale);
            self.delay.unwrap_or(default)
        };
        match self.fault {
            Fault::Hang => SendMode::Hang,
            Fault::Reset | Fault::ResetBefore => SendMode::Reset,
            Fault::Drip => SendMode::Drip(delay(1)),
            Fault::Garbage => SendMode::Garbage,
            Fault::Half => SendMode::Half,
            Fault::Late => SendMode::Late(delay(20)),
            Fault::SlowHeaders => SendMode::SlowHead(delay(1)),
            Fault::Normal
            | Fault::Status
            | Fault::TruncatedBase64
            | Fault::WrongSignature
            | Fault::Html200 => self.delay.map_or(SendMode::Whole, SendMode::Late),
        }
    }

    fn fits(&self, path: &str) -> bool {
        path.starts_with(&self.path)
    }
}

/// A command of the control interface.
#[derive(Debug)]
pub(crate) enum ControlCommand {
    /// Closes the listener for a time, or until `Normal`.
    Close(Option<Duration>),
    /// Removes the rules of all paths with this prefix. An empty prefix also reopens the listener.
    Normal(String),
    Rule(Rule),
}

/// The JSON form of a command.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandJson {
    #[serde(default)]
    mode: String,
    #[serde(default)]
    path: String,
    status: Option<u16>,
    next: Option<u64>,
    probability: Option<f64>,
    delay_ms: Option<u64>,
    /// `null` means no header. That differs from a missing field.
    #[serde(default, deserialize_with = "present_value")]
    retry_after: Option<Value>,
    location: Option<String>,
}

fn present_value<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// Parses one command or an array of them. The error says what is wrong.
pub(crate) fn parse_commands(json: &[u8], signs: bool) -> Result<Vec<ControlCommand>, String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let values = match value {
        Value::Array(values) => values,
        value => vec![value],
    };
    values
        .into_iter()
        .map(|value| {
            let json_command: CommandJson =
                serde_json::from_value(value).map_err(|e| e.to_string())?;
            parse_command(json_command, signs)
        })
        .collect()
}

fn parse_command(json_command: CommandJson, signs: bool) -> Result<ControlCommand, String> {
    let CommandJson { mode, path, .. } = json_command;
    let bounded = json_command.next.is_some() || json_command.probability.is_some();
    let delay = json_command.delay_ms.map(Duration::from_millis);
    if json_command.next == Some(0) {
        return Err("next must be at least 1".into());
    }
    if json_command
        .probability
        .is_some_and(|p| !(0.0..=1.0).contains(&p))
    {
        return Err("probability must be from 0 to 1".into());
    }
    if json_command.next.is_some() && json_command.probability.is_some() {
        return Err("give only one of next and probability".into());
    }
    if matches!(mode.as_str(), "refuse" | "down") {
        return if bounded || !path.is_empty() || json_command.status.is_some() {
            Err("refuse and down accept only delay_ms".into())
        } else {
            Ok(ControlCommand::Close(delay))
        };
    }
    let mut status = json_command.status;
    let fault = match mode.as_str() {
        "" if status.is_some() => Fault::Status,
        "" => return Err("mode or status is required".into()),
        "redirect" => {
            status = status.or(Some(302));
            Fault::Status
        }
        digits if digits.parse::<u16>().is_ok() => {
            status = digits.parse().ok();
            Fault::Status
        }
        _ => serde_json::from_value(mode.clone().into()).map_err(|error| error.to_string())?,
    };
    if status.is_some_and(|status| !(200..=599).contains(&status)) {
        return Err("status must be from 200 to 599".into());
    }
    if fault == Fault::Status && status.is_none() {
        return Err("status is required".into());
    }
    if fault.is_about_signatures() && !signs {
        return Err("only the mock upstream supports this mode".into());
    }
    if mode == "redirect" && json_command.location.is_none() {
        return Err("location is required".into());
    }
    if fault == Fault::Normal && status.is_none() && delay.is_none() && !bounded {
        return Ok(ControlCommand::Normal(path));
    }
    let retry_after = match json_command.retry_after {
        None => RetryAfter::Default,
        Some(Value::Null) => RetryAfter::Omitted,
        Some(Value::String(text)) => RetryAfter::Fixed(text),
        Some(Value::Number(seconds)) => RetryAfter::Fixed(seconds.to_string()),
        Some(_) => return Err("retry_after must be a string, a number or null".into()),
    };
    Ok(ControlCommand::Rule(Rule {
        path,
        fault,
        status,
        delay,
        retry_after,
        location: json_command.location,
        next: json_command.next,
        probability: json_command.probability,
    }))
}

/// The rules in force. Rules with a count apply first, in the order of their arrival. Persistent
/// rules apply next; the longest path wins. Rules with a probability apply last.
#[derive(Default)]
pub(crate) struct Rules {
    next: VecDeque<Rule>,
    persistent: Vec<Rule>,
    probabilistic: Vec<Rule>,
}

impl Rules {
    /// Adds a rule. A persistent rule replaces the one with the same path. A rule with a
    /// probability replaces the one with the same path and fault. Rules with a count queue up.
    pub(crate) fn add(&mut self, rule: Rule) {
        if rule.next.is_some() {
            self.next.push_back(rule);
        } else if rule.probability.is_some() {
            let same = |other: &Rule| {
                (&other.path, other.fault, other.status) == (&rule.path, rule.fault, rule.status)
            };
            self.probabilistic.retain(|other| !same(other));
            self.probabilistic.push(rule);
        } else {
            self.persistent.retain(|other| other.path != rule.path);
            self.persistent.push(rule);
        }
    }

    /// Removes the rules of all paths with this prefix.
    pub(crate) fn clear(&mut self, path: &str) {
        self.next.retain(|rule| !rule.path.starts_with(path));
        self.persistent.retain(|rule| !rule.path.starts_with(path));
        self.probabilistic
            .retain(|rule| !rule.path.starts_with(path));
    }

    /// Returns the rule for a request. If the rule has a count, the count decreases.
    pub(crate) fn decide(&mut self, path: &str, random: &mut SeededRandom) -> Option<Rule> {
        if let Some(at) = self.next.iter().position(|rule| rule.fits(path)) {
            return Some(self.use_up(at));
        }
        let persistent = self.persistent.iter().filter(|rule| rule.fits(path));
        if let Some(rule) = persistent.max_by_key(|rule| rule.path.len()) {
            return Some(rule.clone());
        }
        let mut here = self.probabilistic.iter().filter(|rule| rule.fits(path));
        // Faults that precede reading were decided by `cut_unread`.
        let hit = here.find(|rule| {
            rule.fault != Fault::ResetBefore && random.happens(rule.probability.unwrap_or(0.0))
        });
        hit.cloned()
    }

    /// Returns whether to reset a connection before its next request is read. The path is not known
    /// at that time.
    pub(crate) fn cut_unread(&mut self, random: &mut SeededRandom) -> bool {
        let cuts = |rule: &Rule| rule.fault == Fault::ResetBefore && rule.path.is_empty();
        if let Some(first) = self.next.front() {
            let cut = cuts(first);
            if cut {
                self.use_up(0);
            }
            return cut;
        }
        self.persistent.iter().any(cuts)
            || self
                .probabilistic
                .iter()
                .any(|rule| cuts(rule) && random.happens(rule.probability.unwrap_or(0.0)))
    }

    fn use_up(&mut self, at: usize) -> Rule {
        let rule = &mut self.next[at];
        let used = rule.clone();
        rule.next = rule.next.map(|left| left - 1);
        if rule.next == Some(0) {
            self.next.remove(at);
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Rules {
        let mut rules = Rules::default();
        for command in parse_commands(json.as_bytes(), true).expect("commands should be valid") {
            match command {
                ControlCommand::Rule(rule) => rules.add(rule),
                ControlCommand::Normal(path) => rules.clear(&path),
                ControlCommand::Close(_) => panic!("no test closes the listener"),
            }
        }
        rules
    }

    /// Returns the fault and the status for each request.
    fn met(rules: &mut Rules, paths: &[&str]) -> Vec<Option<(Fault, Option<u16>)>> {
        let mut random = SeededRandom::of(1, b"", 0);
        let mut decide = |path: &&str| rules.decide(path, &mut random);
        let faults = paths.iter().map(&mut decide);
        faults
            .map(|rule| rule.map(|rule| (rule.fault, rule.status)))
            .collect()
    }

    #[test]
    fn counted_rules_apply_before_persistent_ones() {
        let mut rules = rules(
            r#"[{"mode": "500"}, {"mode": "hang", "next": 2}, {"status": 410, "next": 1, "path": "/b"}]"#,
        );
        let hang = Some((Fault::Hang, None));
        let persistent = Some((Fault::Status, Some(500)));
        assert_eq!(
            met(&mut rules, &["/a", "/b", "/a", "/b", "/b"]),
            [
                hang,
                hang,
                persistent,
                Some((Fault::Status, Some(410))),
                persistent
            ]
        );
    }

    #[test]
    fn longest_path_wins_and_normal_clears_it() {
        let json = r#"[{"mode": "hang", "path": "/a"}, {"status": 204, "path": "/a/b"}, {"mode": "reset", "path": "/c"}]"#;
        let mut rules = rules(json);
        let exempt = Some((Fault::Status, Some(204)));
        assert_eq!(
            met(&mut rules, &["/a/x", "/a/b/c", "/"]),
            [Some((Fault::Hang, None)), exempt, None]
        );
        rules.clear("/a");
        assert_eq!(
            met(&mut rules, &["/a/b", "/c"]),
            [None, Some((Fault::Reset, None))]
        );
        rules.clear("");
        assert_eq!(met(&mut rules, &["/c"]), [None]);
    }

    #[test]
    fn random_rules_match_their_probability() {
        let json = r#"[{"mode": "hang", "probability": 0.25}, {"mode": "500", "probability": 0.5},
            {"mode": "503", "probability": 0}]"#;
        let met = met(&mut rules(json), &vec!["/"; 4000]);
        let count = |wanted| met.iter().filter(|fault| **fault == wanted).count();
        // Expected are 1000, and 1500 of the remaining 3000. The bounds are five standard
        // deviations.
        assert!((863..1137).contains(&count(Some((Fault::Hang, None)))));
        assert!((1347..1653).contains(&count(Some((Fault::Status, Some(500))))));
        assert_eq!(count(Some((Fault::Status, Some(503)))), 0);
    }

    #[test]
    fn connection_is_reset_when_its_rule_is_next() {
        let mut rules =
            rules(r#"[{"mode": "hang", "next": 1}, {"mode": "reset-before", "next": 1}]"#);
        let mut random = SeededRandom::of(1, b"", 0);
        assert!(!rules.cut_unread(&mut random));
        assert_eq!(met(&mut rules, &["/"]), [Some((Fault::Hang, None))]);
        assert!(rules.cut_unread(&mut random));
        assert!(!rules.cut_unread(&mut random));
    }

    #[test]
    fn invalid_order_is_rejected() {
        for (json, named) in [
            ("{", "EOF"),
            ("7", "struct"),
            (r#"{"mode": "nap"}"#, "nap"),
            (r#"{"mode": "hang", "nxt": 1}"#, "nxt"),
            (r#"{"mode": "hang", "next": 0}"#, "next"),
            (r#"{"mode": "hang", "probability": 1.5}"#, "probability"),
            (
                r#"{"mode": "hang", "next": 1, "probability": 1}"#,
                "only one",
            ),
            (r#"{"mode": "600"}"#, "status"),
            (r#"{"mode": "status"}"#, "status"),
            (r#"{"mode": "redirect"}"#, "location"),
            (r#"{"mode": "refuse", "next": 1}"#, "delay_ms"),
            (r#"{"mode": "429", "retry_after": []}"#, "retry_after"),
            ("{}", "mode"),
        ] {
            let error = parse_commands(json.as_bytes(), true).expect_err(json);
            assert!(error.contains(named), "{json}: {error}");
        }
        assert!(parse_commands(br#"{"mode": "wrong-signature"}"#, false).is_err());
    }

    #[test]
    fn null_retry_after_differs_from_an_absent_one() {
        for (json, expected) in [
            (r#"{"mode": "429"}"#, RetryAfter::Default),
            (
                r#"{"mode": "429", "retry_after": null}"#,
                RetryAfter::Omitted,
            ),
            (
                r#"{"mode": "429", "retry_after": 3}"#,
                RetryAfter::Fixed("3".into()),
            ),
            (
                r#"{"mode": "429", "retry_after": "soon"}"#,
                RetryAfter::Fixed("soon".into()),
            ),
        ] {
            let Some(ControlCommand::Rule(rule)) =
                parse_commands(json.as_bytes(), true).expect(json).pop()
            else {
                panic!("{json} should be a rule");
            };
            assert_eq!(rule.retry_after, expected, "{json}");
        }
    }
}
