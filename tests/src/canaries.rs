//! Records secrets, so that a search of the servers' logs can prove that they contain none.
//!
//! If `BULKHEAD_TEST_LOGS` names a folder, every server of a test run logs at trace level into a
//! file of that folder, writes its audit log there, and the harness writes every secret that it sends or receives to the file
//! `canaries`, one per line. After the run, `run_tests.sh` searches the logs for these lines. The
//! run fails if it finds one.

use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

/// Shorter texts would match unrelated words.
const BYTES_MIN: usize = 8;
const BYTES_MAX: usize = 48;

static FOLDER: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("BULKHEAD_TEST_LOGS").map(PathBuf::from));

struct Canaries {
    written: HashSet<String>,
    file: File,
}

static CANARIES: LazyLock<Option<Mutex<Canaries>>> = LazyLock::new(|| {
    let path = FOLDER.as_ref()?.join("canaries");
    let mut file = OpenOptions::new();
    Some(Mutex::new(Canaries {
        written: HashSet::new(),
        file: file
            .create(true)
            .append(true)
            .open(path)
            .expect("file should be accessible"),
    }))
});

/// Creates the log file of one server. Returns it with the path of the server's audit log, or `None` if logs are not kept.
pub(crate) fn log_files() -> Option<(File, PathBuf)> {
    static SERVERS: AtomicU32 = AtomicU32::new(0);
    let number = SERVERS.fetch_add(1, Ordering::Relaxed);
    let folder = FOLDER.as_ref()?;
    let name = |end| folder.join(format!("{}-{number}{end}", std::process::id()));
    let log = File::create(name(".log")).expect("file should be accessible");
    Some((log, name("-audit.log")))
}

/// Records a secret, or a part of it that occurs nowhere else.
pub fn record_secret(text: &str) {
    let Some(canaries) = CANARIES.as_ref() else {
        return;
    };
    // The longest line that is specific to this text. Armor lines occur in every message.
    let lines = text.split(['\r', '\n']).map(str::trim);
    let own = lines.filter(|line| !line.contains("-----") && !line.starts_with("Version:"));
    let Some(line) = own.max_by_key(|line| line.len()) else {
        return;
    };
    // A trial component returns its version as the token, and the version is public.
    if line.starts_with("7.0.0-edition.") {
        return;
    }
    let end = line.floor_char_boundary(BYTES_MAX);
    if end < BYTES_MIN {
        return;
    }
    let mut canaries = canaries.lock().expect("thread should not panic");
    if canaries.written.insert(line[..end].to_owned()) {
        // A single write, because the mocks of the same run append to this file too.
        let line = [&line[..end], "\n"].concat();
        canaries
            .file
            .write_all(line.as_bytes())
            .expect("file should be written");
    }
}

/// Records the secrets of a request: the access key, the query, the token and all text in the body. For the signing
/// relay, only messages and signatures are secrets: its log may contain ids and receivers' names.
pub(crate) fn request(target: &str, headers: &[(&str, &str)], body: &[u8]) {
    if CANARIES.is_none() {
        return;
    }
    access_keys(headers).for_each(record_secret);
    if is_relay(target) {
        for text in secrets_in_query(target)
            .iter()
            .chain(&secrets_in_json(body))
        {
            record_secret(text);
        }
        return;
    }
    if let Some((_, query)) = target.split_once('?') {
        record_secret(query);
    }
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("bulkhead-token") {
            record_secret(value);
        }
    }
    record_body(body);
}

/// Returns the access keys in the headers of a request, valid or not.
fn access_keys<'a>(headers: &'a [(&str, &str)]) -> impl Iterator<Item = &'a str> {
    let headers = headers.iter();
    let headers = headers.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    headers.map(|(_, value)| value.trim_start_matches("Bearer "))
}

/// Records the secrets of a response: a plaintext, a token, a message, a signature.
pub(crate) fn response(status: u16, target: &str, body: &[u8]) {
    if CANARIES.is_some() && is_relay(target) {
        for text in &secrets_in_json(body) {
            record_secret(text);
        }
        return;
    }
    let is_confidential = target.starts_with("/decryptMessage") || target.starts_with("/token");
    if CANARIES.is_some() && status == 200 && is_confidential {
        record_body(body);
    }
}

fn is_relay(target: &str) -> bool {
    target.starts_with("/crypto/")
}

/// The relay's parameters and fields that must never be logged.
const RELAY_SECRETS: [&str; 2] = ["message", "signature"];

/// Returns the values of these query parameters, as they are written and decoded.
fn secrets_in_query(target: &str) -> Vec<String> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, _)| RELAY_SECRETS.contains(name))
        .flat_map(|(_, value)| {
            let spaced = value.replace('+', " ");
            let decoded = percent_decode_str(&spaced).decode_utf8_lossy().into_owned();
            [value.to_owned(), decoded]
        })
        .collect()
}

/// Returns the values of these JSON fields at any depth.
fn secrets_in_json(body: &[u8]) -> Vec<String> {
    fn search(value: Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if RELAY_SECRETS.contains(&&*name) => found.push(text),
                        value => search(value, found),
                    }
                }
            }
            Value::Array(values) => values.into_iter().for_each(|value| search(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    search(serde_json::from_slice(body).unwrap_or_default(), &mut found);
    found
}

fn record_body(body: &[u8]) {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => fields
            .values()
            .filter_map(Value::as_str)
            .filter(|text| !text.starts_with("HMAC-"))
            .for_each(record_secret),
        _ => {
            if let Ok(text) = std::str::from_utf8(body) {
                record_secret(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_keys_are_found_in_headers() {
        let headers = [
            ("Accept", "*/*"),
            ("authorization", "Bearer bh_1"),
            ("Authorization", "bh_2"),
        ];
        assert!(access_keys(&headers).eq(["bh_1", "bh_2"]));
    }

    #[test]
    fn relay_secrets_are_found_in_queries_and_json() {
        let target =
            "/crypto/sign?message=a%20secret+text&callback_url=http://receiver/&signature=AbC_";
        assert_eq!(
            secrets_in_query(target),
            ["a%20secret+text", "a secret text", "AbC_", "AbC_"]
        );
        let body =
            br#"{"id": "i", "message": "m", "data": [{"signature": "s", "status": "signed"}]}"#;
        let mut found = secrets_in_json(body);
        found.sort();
        assert_eq!(found, ["m", "s"]);
        assert!(secrets_in_query("/crypto/requests/id").is_empty());
        assert!(secrets_in_json(b"<html>").is_empty());
    }
}
