//! The log entries of the mocks, one JSON object per line.

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
    /// A number that counts from 0 in the order of time.
    pub seq: u64,
    /// The time from the start of the mock until the complete head was read, in whole microseconds.
    #[serde(rename = "ms", with = "milliseconds")]
    pub at: Duration,
    /// The kind of call.
    pub kind: Kind,
    /// The message to sign or to verify.
    pub message: Option<String>,
    /// The header `traceparent`.
    pub traceparent: Option<String>,
    /// The status of the response, or the fault that replaced it.
    pub status: Outcome,
    /// The fault, if there was one.
    pub mode: Option<Fault>,
    /// Whether this call exceeds the quota of the window that ends with it.
    pub over_quota: bool,
}

/// The kind of a call.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `GET /crypto/sign`
    Sign,
    /// `GET /crypto/verify`
    Verify,
    /// `GET /`
    Key,
    /// Anything else. It counts against the quota too.
    Other,
}

/// The result of a request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// A status that the client can read, possibly late.
    Answered(u16),
    /// No readable response, because of this fault.
    Broken(Fault),
}

/// The counts of the mock upstream.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Summary {
    /// All calls.
    pub arrivals: u64,
    /// The maximum number of calls in any window of the quota.
    pub max_in_window: usize,
    /// The calls that exceeded the quota.
    pub over_quota: u64,
    /// The quota: the number of calls in a window.
    pub calls: usize,
    /// The length of the window in milliseconds, scaled.
    pub window_ms: f64,
    /// Calls by kind.
    pub by_kind: std::collections::BTreeMap<Kind, u64>,
    /// The number of different messages for which a complete, right signature was returned.
    pub signed_messages: usize,
    /// The number of connections that were reset before a request was read. They are not arrivals.
    pub cut_unread: u64,
}

/// A webhook that reached the mock receiver.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Delivery {
    /// A number that counts from 0 in the order of time.
    pub seq: u64,
    /// The time from the start of the mock until the complete body was read, in whole microseconds.
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
    /// The body. It is a string if it is not JSON.
    pub body: Value,
    /// The status of the response, or the fault that replaced it.
    pub status: Outcome,
    /// The fault, if there was one.
    pub mode: Option<Fault>,
    /// Whether the signature is right. `None` without `--secret`.
    pub verified: Option<bool>,
    /// The reason why the signature is wrong.
    pub error: Option<String>,
}

/// All entries, in memory and in a log file if one is given.
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
            // A single write before the response is sent: an entry is in the file before a client
            // can know of it, even if this process is killed.
            let line = serde_json::to_string(&entry).expect("entry should serialize") + "\n";
            file.write_all(line.as_bytes())
                .expect("log should be written");
        }
        self.entries.push(entry);
    }

    pub(crate) fn lines(&self) -> String {
        let line = |entry| serde_json::to_string(entry).expect("entry should serialize") + "\n";
        self.entries.iter().map(line).collect()
    }
}

/// Durations as milliseconds with three decimals.
mod milliseconds {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(at: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let seconds = u32::try_from(at.as_secs()).map_err(serde::ser::Error::custom)?;
        // A single division gives at most three decimals.
        let micros = f64::from(seconds) * 1e6 + f64::from(at.subsec_micros());
        to.serialize_f64(micros / 1000.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)? / 1000.0;
        let exact = Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)?;
        // Rounds to the nearest microsecond, which is the one that was written.
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
            let text = serde_json::to_string(&at).expect("value should be a number");
            assert_eq!(
                serde_json::from_str::<At>(&text).expect("value should be a number"),
                at
            );
        }
        let text = serde_json::to_string(&At(Duration::from_micros(1_234_567)))
            .expect("value should be a number");
        assert_eq!(text, "1234.567");
    }

    #[test]
    fn killed_writer_leaves_complete_lines() {
        let folder = tempfile::tempdir().expect("folder should be accessible");
        let path = folder.path().join("log");
        for part in [1, 2] {
            let mut journal = Journal::new(Some(&path)).expect("file should be accessible");
            journal.record(part);
            assert_eq!(journal.lines(), format!("{part}\n"));
            // The journal is neither flushed nor closed, because it has no buffer.
            std::mem::forget(journal);
        }
        assert_eq!(
            std::fs::read_to_string(&path).expect("file should be accessible"),
            "1\n2\n"
        );
    }
}
