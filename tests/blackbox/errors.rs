//! One table of the error texts that users see, each with the situation that causes it: `errors.txt`.
//!
//! The tables of the modules below cause each situation with the real binary. The test compares the texts
//! with the file, so that a change to a text has to be intended and is read next to the other texts. Unit tests
//! cause the situations of `errors/unit.txt`, and `errors/unlisted.txt` has the texts that no test shows. The module
//! `sources` fails if a text of the sources is in none of the three.

mod access;
mod commands;
mod messages;
mod relay;
mod requests;
mod settings;
mod sources;

use bulkhead_tests::http::Response;
use std::collections::BTreeSet;
use std::process::Output;

const GOLDEN: &str = include_str!("errors.txt");

/// Codes of problems that no situation of the table causes, with the test that causes each of them.
const CODES_ELSEWHERE: [(&str, &str); 3] = [
    (
        "audit_unavailable",
        "required_line_is_written_before_the_response_or_the_response_is_503",
    ),
    ("draining", "readiness_fails_before_the_listener_closes"),
    // Only a fault of the server or of a component causes this problem.
    ("internal", "every_fault_of_an_instance_has_a_response"),
];

/// Words that begin an advice. Every text has one of them.
const ADVICE: &[&str] = &[
    "accept", "add", "ask", "build", "change", "check", "choose", "convert", "copy", "correct",
    "create", "encode", "encrypt", "give", "install", "keep", "lower", "make", "name", "omit",
    "raise", "read", "remove", "replace", "restore", "retry", "save", "see", "send", "set",
    "start", "stop", "tip", "try", "unset", "use", "verify", "wait", "write",
];

/// The table: lines of text, and what they cover.
#[derive(Default)]
pub(crate) struct Table {
    text: String,
    situations: BTreeSet<String>,
    codes: BTreeSet<String>,
    /// Rules that texts break.
    faults: Vec<String>,
}

impl Table {
    fn section(&mut self, title: &str) {
        self.text += &["# ", title, "\n\n"].concat();
    }

    /// Adds the problem document of a response.
    #[track_caller]
    pub(crate) fn problem(&mut self, situation: &str, response: &Response) {
        let code = response.problem();
        let document = response.json();
        let detail = document["detail"].as_str().unwrap_or_default();
        assert!(detail.ends_with('.'), "{situation}: {detail}");
        self.add(situation, &format!("{} {code}", response.status), detail);
        self.codes.insert(code);
    }

    /// Adds the error that a command prints before it fails. The usage and the hints of clap are omitted.
    /// `replaced` are texts that differ from run to run, with their names in the table.
    #[track_caller]
    pub(crate) fn failure(&mut self, situation: &str, output: &Output, replaced: &[(&str, &str)]) {
        if output.status.success() {
            self.faults.push(format!("{situation} should fail"));
        }
        let text = [&output.stdout[..], &output.stderr].concat();
        let text = String::from_utf8(text).expect("text should be UTF-8");
        let mut lines: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("problem: "))
            .collect();
        if lines.is_empty() {
            let is_end = |line: &&str| line.starts_with("Usage:") || line.starts_with("For more");
            lines = text.lines().take_while(|line| !is_end(line)).collect();
            // The hash of a component changes with its compiler.
            lines.retain(|line| !line.is_empty() && !line.starts_with("sha256 "));
        }
        let lines: Vec<_> = lines.into_iter().map(str::trim).collect();
        let mut text = lines.join("\n    ");
        for (found, name) in replaced {
            text = text.replace(found, name);
        }
        self.add(situation, "", &text);
    }

    #[track_caller]
    fn add(&mut self, situation: &str, prefix: &str, text: &str) {
        assert!(
            self.situations.insert(situation.to_owned()),
            "{situation} occurs twice"
        );
        self.faults.extend(faults(situation, text));
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            [prefix, ": "].concat()
        };
        self.text += &[situation, "\n    ", &prefix, text, "\n\n"].concat();
    }
}

/// Returns the rules that a text breaks: it says what to do, and it says nothing twice.
fn faults(situation: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lower = text.to_lowercase();
    let words: Vec<_> = lower.split(|c: char| !c.is_ascii_alphabetic()).collect();
    let is_negated = |at: usize| words[at] == "set" && at > 0 && words[at - 1] == "not";
    let is_advice = |at: usize| ADVICE.contains(&words[at]) && !is_negated(at);
    // clap lists the values that a setting accepts.
    let advises = lower.contains("[possible values: ") || (0..words.len()).any(is_advice);
    if !advises {
        faults.push(format!(
            "{situation}: the text should say what to do: {text}"
        ));
    }
    // "the store is not available: the store is not available"
    let clauses = lower.replace(". ", ": ").replace("\n    ", ": ");
    let clauses: Vec<_> = clauses.split(": ").map(str::trim).collect();
    let repeats = |pair: &[&str]| pair[0] == pair[1] && !pair[0].is_empty();
    if clauses.windows(2).any(repeats) {
        faults.push(format!("{situation}: the text repeats itself: {text}"));
    }
    faults
}

#[test]
fn error_texts_equal_the_table() {
    let mut table = Table::default();
    table.section("Requests");
    requests::add(&mut table);
    table.section("Access");
    access::add(&mut table);
    table.section("Messages to decrypt");
    messages::add(&mut table);
    table.section("Signing relay");
    relay::add(&mut table);
    table.section("Settings");
    settings::add(&mut table);
    table.section("Commands");
    commands::add(&mut table);
    for (status, code) in crate::description::documented_codes() {
        let elsewhere = CODES_ELSEWHERE.iter().any(|(other, _)| *other == code);
        if table.codes.contains(&code) == elsewhere {
            let fault = format!("{status} {code} should be in the table or in CODES_ELSEWHERE");
            table.faults.push(fault);
        }
    }
    if std::env::var_os("BULKHEAD_TEST_WRITE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/blackbox/errors.txt");
        std::fs::write(path, &table.text).expect("source tree should be writable");
    }
    assert!(table.faults.is_empty(), "{}", table.faults.join("\n"));
    let golden = std::env::var_os("BULKHEAD_TEST_WRITE").map_or(GOLDEN, |_| &table.text);
    for (number, (line, golden)) in table.text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(line, golden, "line {} of {OUT_OF_DATE}", number + 1);
    }
    assert!(table.text == golden, "the length of {OUT_OF_DATE}");
}

const OUT_OF_DATE: &str = "tests/blackbox/errors.txt is out of date. If the change is intended: \
    BULKHEAD_TEST_WRITE=1 cargo test --release --locked --test blackbox -- error_texts";
