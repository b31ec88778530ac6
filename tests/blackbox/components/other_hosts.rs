//! Bulkhead's contracts in other implementations: a token component in JavaScript, and the decrypt
//! component under Node.js.
//!
//! These tests are ignored by default. `BULKHEAD_TEST_NODE` names the folder in which
//! `tests/node.sh` has built the examples.

use super::ComponentServer;
use crate::messages::MAKERS;
use bulkhead_tests::fixtures;
use bulkhead_tests::http::request;
use bulkhead_tests::until_within;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

fn example(name: &str) -> PathBuf {
    let built = std::env::var_os("BULKHEAD_TEST_NODE")
        .expect("BULKHEAD_TEST_NODE should name the folder that tests/node.sh filled");
    PathBuf::from(built).join("examples").join(name)
}

/// Each instance contains a JavaScript engine, and still fits into the pool.
#[test]
#[ignore = "needs Node.js"]
fn node_token_component_serves_requests() {
    let bodies = [
        Vec::new(),
        b"what do ya want for nothing?".to_vec(),
        vec![b'x'; 100_000],
        (0..=255).collect(),
    ];
    let setup = ComponentServer::new();
    let expected: Vec<Value> = bodies
        .iter()
        .map(|body| setup.post_token(body).json())
        .collect();
    let file = std::fs::read(example("token-js").join("token.wasm"))
        .expect("component should have been built");
    setup.put("token.wasm", &file);
    until_within(Duration::from_mins(3), "the component is active", || {
        setup.state("token")["source"] == "file"
    });
    for (body, expected) in bodies.iter().zip(expected) {
        let response = setup.post_token(body);
        let by = response
            .header("bulkhead-component")
            .expect("header should be present");
        assert!(by.starts_with("token-js/"), "{by}");
        assert_eq!(response.json(), expected);
        let token = expected["token"]
            .as_str()
            .expect("token should be a string")
            .to_uppercase();
        for (token, valid) in [(token.as_str(), true), (&token[1..], false)] {
            let headers = [("Bulkhead-Token", token)];
            let address = setup.server.address;
            let response = request(address, "POST", "/token/verify", &headers, body);
            assert_eq!(response.json()["valid"], valid, "{response:?}");
        }
    }
}

/// Returns the expected result in the format of `open.mjs`.
fn expected(fixture: &fixtures::Fixture) -> Value {
    use base64::Engine as _;
    match (fixture.expect.as_deref(), &fixture.plaintext) {
        (Some(code), _) => match code {
            "unsupported_message" => "unsupported".into(),
            code => code.replace('_', "-").into(),
        },
        (None, Some(plaintext)) => base64::engine::general_purpose::STANDARD
            .encode(plaintext)
            .into(),
        (None, None) => Value::Null,
    }
}

#[test]
#[ignore = "needs Node.js"]
fn node_host_returns_the_same_results() {
    let mut requests = String::new();
    let mut responses = Vec::new();
    for file in MAKERS.iter().chain(&["refused.jsonl", "rfc9580.jsonl"]) {
        for fixture in fixtures::read(file) {
            let any = ["any".to_owned()];
            let passphrases = match fixture.passphrases.as_slice() {
                [] => &any[..],
                some => some,
            };
            for passphrase in passphrases {
                let message = &fixture.message;
                requests += &json!({"passphrase": passphrase, "message": message}).to_string();
                requests.push('\n');
                responses.push((fixture.name.clone(), expected(&fixture)));
            }
        }
    }
    let mut child = Command::new("node")
        .arg(example("decrypt-node").join("open.mjs"))
        .arg("--lines")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node should start");
    let mut stdin = child.stdin.take().expect("pipe should be readable");
    stdin
        .write_all(requests.as_bytes())
        .expect("program should read its whole input");
    drop(stdin);
    let output = child.wait_with_output().expect("process should end");
    let lines = String::from_utf8(output.stdout).expect("text should be JSON");
    assert_eq!(lines.lines().count(), responses.len());
    assert!(responses.len() > 3000);
    for (line, (name, expected)) in lines.lines().zip(responses) {
        let response: Value = serde_json::from_str(line).expect("text should be JSON");
        let got = match &response["plaintext_base64"] {
            Value::Null => &response["rejection"]["tag"],
            plaintext => plaintext,
        };
        assert_eq!(*got, expected, "{name}: {line}");
    }
}
