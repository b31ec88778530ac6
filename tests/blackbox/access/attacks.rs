//! Attacks on access control, each with its input and its outcome. The table of `docs/security/attacks.md` is written
//! from here.

mod cases;

use super::{KeyFile, new_key, send};
use bulkhead_tests::canaries::record_secret;
use bulkhead_tests::http::{connect, read};
use bulkhead_tests::server::Server;
use cases::CASES;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read, Write as _};

const PAGE: &str = include_str!("../../../docs/security/attacks.md");

/// The line before the table, and the line behind it.
const BEGIN: &str = "<!-- written by the test attacks_have_the_documented_outcome -->\n";
const END: &str = "<!-- end -->\n";

/// The server that an attack is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// A server with access keys.
    Keys,
    /// A server without access keys, on loopback.
    Open,
}

/// An attack by the bytes of a connection.
struct Case {
    attack: &'static str,
    target: Target,
    /// The bytes, with placeholders for keys and lengths. Lines end with CR and LF, except behind a backslash.
    input: &'static str,
    /// The statuses of all responses, with the codes of problem documents.
    outcome: &'static str,
}

/// The values for the placeholders of inputs.
struct Secrets {
    values: Vec<(&'static str, String)>,
}

impl Secrets {
    fn new(keys: &mut KeyFile) -> Self {
        let key = keys.add("victim", &["token:make"]);
        let admin = keys.add("ops", &["admin", "observe"]);
        let (unknown, _) = new_key("victim", &["token:make"]);
        let digest = keys.entries[0]["keys"][0]["sha256"].clone();
        let digest = digest.as_str().expect("digest should be text").to_owned();
        let (start, last) = key.split_at(key.len() - 1);
        let changed = [start, if last == "0" { "1" } else { "0" }].concat();
        let values = vec![
            ("{changed}", changed),
            ("{lower}", key.to_lowercase()),
            ("{upper}", key.to_uppercase()),
            ("{long}", format!("{key}{}", "0".repeat(4096))),
            ("{unknown}", unknown),
            ("{digest}", digest),
            ("{admin}", admin),
            ("{key}", key),
        ];
        for (_, value) in &values {
            record_secret(value);
        }
        Self { values }
    }

    fn value(&self, name: &str) -> &str {
        let mut values = self.values.iter();
        let found = values.find(|(known, _)| *known == name);
        found
            .map(|(_, value)| value.as_str())
            .expect("name should exist")
    }

    /// Returns the bytes of an input.
    fn fill(&self, input: &str) -> Vec<u8> {
        let mut text = input.to_owned();
        for (name, value) in &self.values {
            text = text.replace(name, value);
        }
        // The length of what follows the empty line, to the end or to a mark.
        if let Some((_, body)) = text.split_once("\n\n") {
            let body = body.split_once("{end}").map_or(body, |(body, _)| body);
            let length = body.replace('\n', "\r\n").len().to_string();
            text = text.replacen("{length}", &length, 1);
        }
        text = text.replace("{end}", "");
        text.replace('\n', "\r\n")
            .replace("\\\r\n", "\n")
            .into_bytes()
    }
}

/// Responses behind each other. One byte at a time is read, so that the start of the next response is not lost.
struct ByteByByte<'a>(&'a [u8]);

impl Read for ByteByByte<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let one = bytes.len().min(1);
        self.0.read(&mut bytes[..one])
    }
}

/// Sends bytes, and returns the statuses of all responses until the server closes the connection.
fn outcome(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server.address);
    // The server may close the connection early.
    let _closed = stream.write_all(bytes);
    let mut all = Vec::new();
    let _reset = stream.read_to_end(&mut all);
    let mut responses = ByteByByte(&all);
    let mut found = Vec::new();
    while let Ok(response) = read(&mut responses, bytes.starts_with(b"HEAD")) {
        // The response to HEAD has no body.
        let document: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let code = document["code"].as_str().map(|code| format!(" {code}"));
        found.push(format!("{}{}", response.status, code.unwrap_or_default()));
    }
    if found.is_empty() {
        "no response".to_owned()
    } else {
        found.join(", ")
    }
}

/// Returns an input as the table shows it: without the headers that most inputs have, and in one line.
fn shown(input: &str) -> String {
    let lines = input.trim_end().split('\n');
    let own = lines.filter(|line| !["Host: a", "Connection: close"].contains(line));
    let own: Vec<_> = own.collect();
    own.join(" ⏎ ").replace('\0', "␀")
}

#[test]
fn attacks_have_the_documented_outcome() {
    let mut keys = KeyFile::new();
    let secrets = Secrets::new(&mut keys);
    let variables = [("BULKHEAD_LOG", "trace"), ("BULKHEAD_ACCESS_LOG", "on")];
    let protected = keys.start_with(&variables);
    let open = Server::start_with(&[], &[("SECRET", "a secret of more than thirty-two bytes")]);
    let mut table = "| attack | input | expected | observed |\n|---|---|---|---|\n".to_owned();
    let mut failures = String::new();
    for case in CASES {
        let server = match case.target {
            Target::Keys => &protected,
            Target::Open => &open,
        };
        let observed = outcome(server, &secrets.fill(case.input));
        let (attack, input, expected) = (case.attack, shown(case.input), case.outcome);
        if observed != expected {
            writeln!(
                failures,
                "{attack}: {input}\n  expected {expected}\n  observed {observed}"
            )
            .expect("text should be writable");
        }
        writeln!(table, "| {attack} | `{input}` | {expected} | {observed} |")
            .expect("text should be writable");
    }
    assert!(failures.is_empty(), "\n{failures}");
    // A valid key is accepted after all of that, and no key is in the log.
    let valid = secrets
        .fill("POST /token HTTP/1.1\nHost: a\nConnection: close\nAuthorization: Bearer {key}\n\n");
    assert_eq!(outcome(&protected, &valid), "200");
    let log = protected.log();
    assert!(log.contains("\"level\":\"TRACE\""));
    for (name, secret) in &secrets.values {
        let is_in_log = log.contains(secret.as_str());
        assert!(!is_in_log, "{name} should not be in the log");
    }
    for target in ["/metrics", "/health", "/access-keys"] {
        let response = send(&protected, secrets.value("{admin}"), "GET", target);
        assert_eq!(response.status, 200, "{target}");
        let text = response.json().to_string();
        for (name, secret) in &secrets.values {
            let is_shown = text.contains(secret.as_str());
            assert!(!is_shown, "{name} should not be in {target}");
        }
    }

    let (before, rest) = PAGE.split_once(BEGIN).expect("page should have a table");
    let (current, after) = rest.split_once(END).expect("table should end");
    if std::env::var_os("BULKHEAD_TEST_WRITE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/security/attacks.md");
        let page = [before, BEGIN, &table, END, after].concat();
        std::fs::write(path, page).expect("source tree should be writable");
    } else {
        assert_eq!(current, table);
    }
}
