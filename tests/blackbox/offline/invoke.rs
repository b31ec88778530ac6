//! Calls each function of each component by name.

use super::{compiled, run, shipped};
use bulkhead_tests::fixtures::SAMPLE;
use std::collections::BTreeSet;
use std::path::Path;
use wit_component::DecodedWasm;

/// An RSA key and its signatures, made with openssl.
const PUBLIC_KEY: &str = include_str!("../../../guest/signing/src/verifier/public-key.pem");
const SIGNATURES: &str = include_str!("../../../guest/signing/src/verifier/signatures.txt");

/// Calls all functions. Each call is in WAVE format, with the expected beginning of the result.
fn calls(name: &str, calls: &[(String, String)]) {
    let component = compiled(name);
    let mut called = BTreeSet::new();
    for (call, expected) in calls {
        let output = run(&["--invoke", call], &component, &[], b"");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && printed.starts_with(expected.as_str()),
            "{call}: {output:?}"
        );
        called.insert(
            call.split('(')
                .next()
                .expect("name should be present")
                .to_owned(),
        );
    }
    assert_eq!(
        called,
        exported(&shipped(name)),
        "every export of {name} should be called"
    );
}

/// Returns the names of all exported functions except the entry point of a command.
fn exported(component: &Path) -> BTreeSet<String> {
    let wasm = std::fs::read(component).expect("file should have been written");
    let decoded = wit_component::decode(&wasm).expect("bytes should be a component");
    let DecodedWasm::Component(resolve, world) = decoded else {
        panic!("file should be a component");
    };
    let exports = &resolve.worlds[world].exports;
    let ours = exports.values().filter_map(|item| match item {
        wit_parser::WorldItem::Interface { id, .. } => Some(&resolve.interfaces[*id]),
        _ => None,
    });
    ours.flat_map(|interface| interface.functions.keys().cloned())
        .filter(|name| name != "run")
        .collect()
}

fn byte_list(text: &str) -> String {
    format!("{:?}", text.as_bytes())
}

/// Formats a string in WAVE.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn about(name: &str) -> [(String, String); 2] {
    [
        (
            "describe()".into(),
            format!("{{name: {}, version: ", quoted(name)),
        ),
        ("self-test()".into(), "ok".into()),
    ]
}

fn call(call: impl Into<String>, expected: impl Into<String>) -> (String, String) {
    (call.into(), expected.into())
}

#[test]
#[ignore = "needs the wasmtime command"]
fn wasmtime_calls_every_function_of_token() {
    // RFC 4231 section 4.3.
    let (secret, body) = (byte_list("Jefe"), byte_list("what do ya want for nothing?"));
    let token = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let mut all = about("token").to_vec();
    all.extend([
        call(
            format!("make(sha256, {secret}, {body})"),
            format!("\"{token}\""),
        ),
        call(
            format!("verify(sha256, [[1], {secret}], {body}, \"{token}\")"),
            "true",
        ),
        call(
            format!("verify(sha1, [{secret}], {body}, \"{token}\")"),
            "false",
        ),
    ]);
    calls("token", &all);
}

#[test]
#[ignore = "needs the wasmtime command"]
fn wasmtime_calls_every_function_of_signing() {
    let signature = SIGNATURES
        .split_ascii_whitespace()
        .nth(1)
        .expect("a signature should exist");
    let (key, signature) = (quoted(PUBLIC_KEY), quoted(signature));
    let message = quoted("what do ya want for nothing?");
    let situation = "{attempts: 1, age-ms: 0, now-ms: 1700000000000, random: 9}";
    let complete = |status: u16, body: &str| {
        let body = byte_list(body);
        format!("complete({{status: {status}, retry-after: none, body: {body}}})")
    };
    let (good, bad) = (complete(200, ""), complete(502, "Bad Gateway"));
    let mut all = about("signing").to_vec();
    all.extend([
        call("target(sign(\"a b\"))", "\"/crypto/sign?message=a%20b\""),
        call("target(check-key)", "\"/\""),
        call(
            format!("read-signature({bad}, \"m\", none, {situation}, 6000)"),
            "retry({after-ms: ",
        ),
        call(
            format!("read-verification({good}, {situation})"),
            "known(true)",
        ),
        call(
            format!("read-verification(failed(timed-out), {situation})"),
            "unknown({after-ms: ",
        ),
        call(
            format!("read-key-check({}, {situation})", complete(401, "")),
            "known(false)",
        ),
        call(
            format!("verify({{message: {message}, signature: {signature}}}, {key})"),
            "ok(true)",
        ),
        call(
            format!("verify({{message: \"another\", signature: {signature}}}, {key})"),
            "ok(false)",
        ),
        call(
            "build(\"id\", {request: \"r\", message: \"m\", outcome: ok(\"s\"), since-ms: 0}, none, 1000)",
            "{headers: [(\"content-type\", \"application/json\"), (\"webhook-id\", \"id\")",
        ),
        call(format!("read({good}, {situation})"), "delivered"),
        call(
            format!("read({bad}, {situation})"),
            "retry({after-ms: ",
        ),
    ]);
    calls("signing", &all);
}

#[test]
#[ignore = "needs the wasmtime command"]
fn wasmtime_calls_every_function_of_decrypt() {
    let limits = "{plaintext-bytes: 1024, compression-layers: 4, compression-ratio: 100, \
                  session-key-packets: 4, armor-header-bytes: 1024}";
    let (topsecret, wrong) = (byte_list("topsecret"), byte_list("wrong"));
    let sample = byte_list(SAMPLE);
    let mut all = about("decrypt").to_vec();
    all.extend([
        call(
            format!("open({sample}, {topsecret}, {limits})"),
            format!(
                "ok({{plaintext: {}, is-openpgp: false}})",
                byte_list("Nice work!\n")
            ),
        ),
        call(
            format!("open({sample}, {wrong}, {limits})"),
            "err(undecryptable)",
        ),
        call(
            format!("open([], {topsecret}, {limits})"),
            "err(not-openpgp(nothing))",
        ),
    ]);
    calls("decrypt-offline", &all);
}
