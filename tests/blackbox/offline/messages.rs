//! `decrypt-offline.wasm` as a command returns the same results as the server.

use super::{compiled, run, shipped};
use crate::messages::MAKERS;
use bulkhead_tests::fixtures::{self, Fixture, SAMPLE};
use bulkhead_tests::server::Server;
use bulkhead_tests::soak;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

/// The number of concurrent processes.
const PROCESSES: usize = 2;

fn request(passphrase: &str, message: &str) -> String {
    json!({"passphrase": passphrase, "message": message}).to_string()
}

/// Compares the command's output with the server's response, except for the request id. Returns the
/// difference.
fn differs(server: &Server, compiled: &Path, passphrase: &str, message: &str) -> Option<String> {
    let body = request(passphrase, message);
    let response = server.post(&body, &[]);
    let output = run(&[], compiled, &[], body.as_bytes());
    let status = output.status.code();
    if response.status == 200 {
        let same = status == Some(0) && output.stdout == response.body;
        return (!same).then(|| format!("{output:?}"));
    }
    let mut expected = response.json();
    let fields = expected
        .as_object_mut()
        .expect("document should be an object");
    fields.remove("request_id");
    if expected["code"] == "not_text" {
        return binary_plaintext_differs(server, compiled, passphrase, message);
    }
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (status != Some(1) || printed != expected).then(|| format!("{expected}: {output:?}"))
}

/// Compares a binary plaintext. The first error must name the option `--bytes`, and the call with
/// this option must return the plaintext.
fn binary_plaintext_differs(
    server: &Server,
    compiled: &Path,
    passphrase: &str,
    message: &str,
) -> Option<String> {
    let body = request(passphrase, message);
    let response = server.decrypt_bytes(passphrase, message);
    let rejected = run(&[], compiled, &[], body.as_bytes());
    let document: Value = serde_json::from_slice(&rejected.stdout).unwrap_or_default();
    let says_how = document["code"] == "not_text"
        && document["detail"].to_string().contains("--bytes")
        && rejected.status.code() == Some(1);
    let output = run(&[], compiled, &["--bytes"], body.as_bytes());
    let same = output.status.success() && response.status == 200 && output.stdout == response.body;
    (!says_how || !same).then(|| format!("{rejected:?} {output:?}"))
}

/// The soak tier runs all messages, the default tier every eighth. Both run all messages that must
/// be rejected.
#[test]
#[ignore = "needs the wasmtime command"]
fn wasmtime_returns_the_same_results_as_the_server() {
    let some = if soak() { 1 } else { 8 };
    let mut fixtures: Vec<Fixture> = Vec::new();
    for file in MAKERS {
        fixtures.extend(fixtures::read(file).into_iter().step_by(some));
    }
    fixtures.extend(fixtures::read("rfc9580.jsonl"));
    fixtures.extend(fixtures::read("refused.jsonl"));
    assert!(fixtures.len() > if soak() { 2700 } else { 400 });

    let (server, compiled) = (Server::shared(), compiled("decrypt-offline"));
    let failures = fixtures::each(&fixtures, PROCESSES, |fixture| {
        let passphrase = fixture.passphrases.first().map_or("any", String::as_str);
        differs(server, &compiled, passphrase, &fixture.message)
    });
    let count = failures.len();
    assert!(failures.is_empty(), "{count}:\n{}", failures.join("\n"));
}

/// Runs the file itself, with only a request, as the documentation shows.
#[test]
#[ignore = "needs the wasmtime command"]
fn wasmtime_runs_the_shipped_command() {
    let offline = shipped("decrypt-offline");
    let body = request("topsecret", SAMPLE);
    let opened = run(&[], &offline, &[], body.as_bytes());
    assert_eq!(opened.status.code(), Some(0), "{opened:?}");
    assert_eq!(opened.stdout, br#"{"DecryptedMessage":"Nice work!\n"}"#);
}

#[test]
#[ignore = "needs the wasmtime command"]
fn wasmtime_applies_limits_and_reports_invalid_input() {
    let compiled = compiled("decrypt-offline");
    let code = |output: &Output| {
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        printed["code"].as_str().unwrap_or_default().to_owned()
    };
    let with =
        |variable: &str, body: &str| run(&["--env", variable], &compiled, &[], body.as_bytes());
    let sample = request("topsecret", SAMPLE);
    for (variable, expected) in [
        ("BULKHEAD_S2K_BYTES_MAX=1KiB", "too_costly"),
        ("BULKHEAD_PLAINTEXT_MAX=3B", "too_costly"),
        ("BULKHEAD_BODY_MAX=100B", "body_too_large"),
        ("BULKHEAD_BODY_MAX=1MiB", ""),
    ] {
        let output = with(variable, &sample);
        assert_eq!(code(&output), expected, "{variable}: {output:?}");
        assert_eq!(output.status.success(), expected.is_empty());
    }
    for wrong in [
        "BULKHEAD_S2K_BYTES_MAX=much",
        "BULKHEAD_SESSION_KEYS_MAX=1MiB",
        "BULKHEAD_BODY_MAX=",
    ] {
        let output = with(wrong, &sample);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let name = wrong.split('=').next().expect("name should be present");
        assert_eq!(output.status.code(), Some(1), "{wrong}: {output:?}");
        assert!(
            errors.contains(name) && output.stdout.is_empty(),
            "{errors}"
        );
    }
    for body in [
        "",
        "{",
        "[]",
        "{\"message\": \"m\"}",
        "{\"passphrase\": \"\", \"message\": \"m\"}",
    ] {
        let response = Server::shared().post(body, &[]);
        let output = run(&[], &compiled, &[], body.as_bytes());
        assert_eq!(code(&output), response.problem(), "{body}");
    }
    let bytes = run(&[], &compiled, &["--bytes"], sample.as_bytes());
    assert_eq!(bytes.stdout, b"Nice work!\n");
    let unknown = run(&[], &compiled, &["--raw"], b"");
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    assert!(unknown.stdout.is_empty() && !unknown.stderr.is_empty());
}
