//! What the mocks log, a JSON object a line.

use super::rules::Fault;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

/// A request that reached the mock upstream.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Arrival {
    /// From 0, in the order of time.
    pub seq: u64,
    /// Since the mock started, when the whole head was read; whole microseconds.
    #[serde(rename = "ms", with = "milliseconds")]
    pub at: Duration,
    /// What was asked.
    pub kind: Kind,
    /// The message to sign or to verify.
    pub message: Option<String>,
    /// The header `traceparent`.
    pub traceparent: Option<String>,
    /// What was answered, if anything was.
    pub status: Outcome,
    /// How it misbehaved, if it did.
    pub mode: Option<Fault>,
    /// More than the quota in the window that ends here.
    pub over_quota: bool,
}

/// What an arrival asked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `GET /crypto/sign`
    Sign,
    /// `GET /crypto/verify`
    Verify,
    /// `GET /`
    Key,
    /// Anything else. It counts like the others.
    Other,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// An answer that a client can read, sooner or later.
    Answered(u16),
    /// None; the mode says what happened instead.
    Broken(Fault),
}

/// What the mock upstream counted.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Summary {
    /// All of them.
    pub arrivals: u64,
    /// The most in any window of the quota.
    pub max_in_window: usize,
    /// Those over the quota.
    pub over_quota: u64,
    /// The quota: so many calls …
    pub calls: usize,
    /// … in any window of so many milliseconds, scaled.
    pub window_ms: f64,
    /// By what they asked.
    pub by_kind: std::collections::BTreeMap<Kind, u64>,
    /// Different messages whose right signature was answered whole.
    pub signed_messages: usize,
    /// Connections reset before a request was read from them. These are no arrivals.
    pub cut_unread: u64,
}

/// A webhook that reached the mock receiver.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Delivery {
    /// From 0, in the order of time.
    pub seq: u64,
    /// Since the mock started, when the whole body was read; whole microseconds.
    #[serde(rename = "ms", with = "milliseconds")]
    pub at: Duration,
    /// The method.
    pub method: String,
    /// The request target, with its query.
    pub path: String,
    /// The header `webhook-id`.
    pub id: Option<String>,
    /// The header `webhook-timestamp`.
    pub timestamp: Option<String>,
    /// The header `webhook-signature`.
    pub signature: Option<String>,
    /// The header `traceparent`.
    pub traceparent: Option<String>,
    /// The body; a string where it is not JSON.
    pub body: Value,
    /// What was answered, if anything was.
    pub status: Outcome,
    /// How it misbehaved, if it did.
    pub mode: Option<Fault>,
    /// Whether the signature is right; none without a secret to know it by.
    pub verified: Option<bool>,
    /// Why the signature is not right.
    pub error: Option<String>,
}

/// All entries, and a file that has them too.
pub(crate) struct Journal<T> {
    pub(crate) entries: Vec<T>,
    file: Option<File>,
}

impl<T: Serialize> Journal<T> {
    pub(crate) fn new(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(|path| OpenOptions::new().create(true).append(true).open(path));
        Ok(Self {
            entries: Vec::new(),
            file: file.transpose()?,
        })
    }

    pub(crate) fn record(&mut self, entry: T) {
        if let Some(file) = &mut self.file {
            // In one write and before the answer goes out: what a client knows of is in the file,
            // whenever we are killed.
            let line = serde_json::to_string(&entry).expect("plain fields") + "\n";
            file.write_all(line.as_bytes()).expect("the log is written");
        }
        self.entries.push(entry);
    }

    pub(crate) fn lines(&self) -> String {
        let line = |entry| serde_json::to_string(entry).expect("plain fields") + "\n";
        self.entries.iter().map(line).collect()
    }
}

/// Milliseconds with the microseconds as decimals.
mod milliseconds {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(at: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let seconds = u32::try_from(at.as_secs()).map_err(serde::ser::Error::custom)?;
        // One division, so that no more than three decimals come out.
        let micros = f64::from(seconds) * 1e6 + f64::from(at.subsec_micros());
        to.serialize_f64(micros / 1000.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)? / 1000.0;
        let exact = Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)?;
        // The nearest microsecond is the one that was written.
        let micros = (exact + Duration::from_nanos(500)).as_micros();
        u64::try_from(micros)
            .map(Duration::from_micros)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct At(#[serde(with = "milliseconds")] Duration);

    #[test]
    fn times_keep_microseconds_in_json() {
        for micros in [
            0,
            1,
            999,
            1_000,
            4_294_967_297,
            86_400_000_001,
            999_999_999_999,
        ] {
            let at = At(Duration::from_micros(micros));
            let text = serde_json::to_string(&at).expect("a number");
            assert_eq!(serde_json::from_str::<At>(&text).expect("a number"), at);
        }
        let text = serde_json::to_string(&At(Duration::from_micros(1_234_567))).expect("a number");
        assert_eq!(text, "1234.567");
    }

    #[test]
    fn killed_writer_leaves_complete_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        for part in [1, 2] {
            let mut journal = Journal::new(Some(&path)).expect("a file");
            journal.record(part);
            assert_eq!(journal.lines(), format!("{part}\n"));
            // Neither closed nor flushed: there is nothing that waits to be written.
            std::mem::forget(journal);
        }
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "1\n2\n");
    }
}
