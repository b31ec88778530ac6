//! The messages in `tests/fixtures`. The README in that folder explains the fields.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The sample message of the README: passphrase `topsecret`, plaintext `Nice work!` and LF.
pub const SAMPLE: &str = include_str!("../../guest/decrypt/src/sample.asc");

/// A message that another implementation made.
#[derive(Debug)]
pub struct Fixture {
    /// A unique name.
    pub name: String,
    /// Passphrases, each of which opens the message.
    pub passphrases: Vec<String>,
    /// The plaintext, if the message opens.
    pub plaintext: Option<Vec<u8>>,
    /// Armored text or bare base64.
    pub message: String,
    /// The code of the error response under default limits, if the message does not open.
    pub expect: Option<String>,
}

/// Reads all lines of one file.
pub fn read(file: &str) -> Vec<Fixture> {
    let path = directory().join("messages").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(fixture).collect()
}

/// Reads the requests in `pasted.jsonl`, which have another format.
pub fn pasted() -> Vec<Value> {
    let requests = text("pasted.jsonl");
    let parse = |line| serde_json::from_str(line).expect("line should be a JSON object");
    requests.lines().map(parse).collect()
}

/// Reads a file as text.
pub fn text(file: &str) -> String {
    let path = directory().join("messages").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Checks `at_a_time` fixtures concurrently. Returns the failures, each with the fixture's name in
/// front.
pub fn each(
    fixtures: &[Fixture],
    at_a_time: usize,
    check: impl Fn(&Fixture) -> Option<String> + Sync,
) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let checks = || {
        let mut failures = Vec::new();
        while let Some(fixture) = fixtures.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(what) = check(fixture) {
                failures.push(format!("{}: {what}", fixture.name));
            }
        }
        failures
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_a_time).map(|_| scope.spawn(checks)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("thread should not panic"))
            .collect()
    })
}

/// Returns the folder that `BULKHEAD_FIXTURES` names, or else the folder in the source tree.
fn directory() -> PathBuf {
    std::env::var_os("BULKHEAD_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"),
        PathBuf::from,
    )
}

fn fixture(line: &str) -> Fixture {
    let line: Value = serde_json::from_str(line).expect("line should be a JSON object");
    let text = |field: &str| line[field].as_str().map(str::to_owned);
    let passphrases = line["passphrases"]
        .as_array()
        .expect("passphrases should be an array");
    Fixture {
        name: text("name").expect("name should be present"),
        passphrases: passphrases
            .iter()
            .filter_map(|p| p.as_str().map(str::to_owned))
            .collect(),
        plaintext: text("plaintext_base64")
            .map(|b| STANDARD.decode(b).expect("text should be base64")),
        message: text("message").expect("message should be a string"),
        expect: text("expect").or_else(|| text("expect_default")),
    }
}
