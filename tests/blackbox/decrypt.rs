//! `POST /decryptMessage`: its responses and its errors.

use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::http;
use bulkhead_tests::server::Server;
use serde_json::{Value, json};

const PASSPHRASE: &str = "topsecret";

#[track_caller]
fn opens(message: &str) {
    let response = Server::shared().decrypt(PASSPHRASE, message);
    assert_eq!(
        response.json(),
        json!({"DecryptedMessage": "Nice work!\n"}),
        "{message:?}"
    );
    assert_eq!(response.status, 200);
}

fn rejected(body: &str) -> (u16, String, Value) {
    let response = Server::shared().post(body, &[]);
    (response.status, response.problem(), response.json())
}

#[test]
fn sample_opens_with_either_spelling_and_media_type() {
    opens(SAMPLE);
    let capital = json!({"Passphrase": PASSPHRASE, "Message": SAMPLE, "x": [1]}).to_string();
    for media_type in [
        "application/json",
        "APPLICATION/JSON;charset=UTF-8",
        "application/vnd.x+json",
    ] {
        let headers = [("Content-Type", media_type)];
        let server = Server::shared().address;
        let response = http::request(
            server,
            "POST",
            "/decryptMessage",
            &headers,
            capital.as_bytes(),
        );
        assert_eq!(response.json(), json!({"DecryptedMessage": "Nice work!\n"}));
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn plaintext_is_returned_as_bytes_on_request() {
    let response = Server::shared().decrypt_bytes(PASSPHRASE, SAMPLE);
    assert_eq!(response.body, b"Nice work!\n");
    assert_eq!(
        response.header("content-type"),
        Some("application/octet-stream")
    );
    let body = json!({"passphrase": PASSPHRASE, "message": SAMPLE}).to_string();
    let neither = Server::shared().post(&body, &[("Accept", "text/html")]);
    assert_eq!(
        (neither.status, neither.problem().as_str()),
        (406, "not_acceptable")
    );
}

#[test]
fn sample_opens_in_damaged_formatting() {
    opens(&SAMPLE.replacen("-----\n", "-----\n\n", 1));
    opens(&SAMPLE.replace("v2\n\n", "v2\n"));
    for line_end in [
        "  \n", "\r\n", "\r", "\\n", "\\r\\n", " ", "", "\n> ", "\n    ", "\n\t",
    ] {
        opens(&SAMPLE.replace('\n', line_end));
    }
    for tail in ["==KvJQ", "KvJQ===", "== =KvJQ", "==", "==\n=AAAA"] {
        opens(&SAMPLE.replace("==\n=KvJQ", tail));
    }
    opens(&SAMPLE.replace("-----END PGP MESSAGE-----", ""));
    opens(&SAMPLE.replace("PGP MESSAGE", "PGP PUBLIC KEY BLOCK"));
    opens(&format!(
        "From: a@b\nSubject: c\n\n-----Original Message-----\n{SAMPLE}\nBye, Bob"
    ));
    opens(&format!("\u{feff}{SAMPLE}"));
    let data: String = SAMPLE.lines().skip(3).take(2).collect();
    opens(&data);
}

#[test]
fn invalid_request_returns_its_code() {
    let text = |message: &str| json!({"passphrase": "p", "message": message}).to_string();
    for (body, status, code) in [
        ("{", 400, "invalid_json"),
        ("[1]", 400, "invalid_json"),
        (
            r#"{"message": "m", "message": "m", "passphrase": "p"}"#,
            400,
            "invalid_json",
        ),
        ("{}", 400, "invalid_parameter"),
        (&text(""), 400, "invalid_parameter"),
        (&text("hello"), 422, "not_openpgp"),
        (&text(SAMPLE), 422, "undecryptable"),
    ] {
        let (got_status, got_code, _) = rejected(body);
        assert_eq!((got_status, got_code.as_str()), (status, code), "{body}");
    }
    let (_, _, document) = rejected(r#"{"message": "m", "passphrase": 5}"#);
    assert_eq!(document["parameter"], "passphrase");
}

#[test]
fn wrong_passphrase_and_altered_message_return_equal_responses() {
    let altered = SAMPLE.replace("pEoI2S82", "pEoI2S83");
    let responses =
        [("wrong", SAMPLE), (PASSPHRASE, altered.as_str())].map(|(passphrase, message)| {
            let body = json!({"passphrase": passphrase, "message": message}).to_string();
            let response = Server::shared().post(&body, &[("X-Request-Id", "same")]);
            assert_eq!(response.header("x-request-id"), Some("same"));
            response.body
        });
    assert_eq!(responses[0], responses[1]);
}

#[test]
fn binary_plaintext_error_names_the_binary_media_type() {
    let binary = bulkhead_tests::fixtures::read("gnupg-2.2.jsonl")
        .into_iter()
        .find(|f| {
            f.plaintext
                .as_ref()
                .is_some_and(|p| std::str::from_utf8(p).is_err())
        })
        .expect("a binary fixture should exist");
    let response = Server::shared().decrypt(&binary.passphrases[0], &binary.message);
    assert_eq!(
        (response.status, response.problem().as_str()),
        (422, "not_text")
    );
    assert!(
        response.json()["detail"]
            .to_string()
            .contains("application/octet-stream")
    );
}

/// The first command of the README.
#[test]
fn readme_example_returns_the_documented_response() {
    const README: &str = include_str!("../../README.md");
    let response = Server::shared().post(include_str!("../../examples/sample.json"), &[]);
    assert_eq!(response.status, 200);
    let body = String::from_utf8(response.body).expect("text should be UTF-8");
    assert!(README.contains("-d @examples/sample.json"));
    assert!(README.lines().any(|line| line.trim() == body), "{body}");
}
