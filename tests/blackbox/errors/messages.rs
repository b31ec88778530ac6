//! Bodies of `/decryptMessage`.

use super::Table;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_tests::fixtures::{self, SAMPLE};
use bulkhead_tests::http::request;
use bulkhead_tests::seal::{PASSPHRASE, literal, packet, seal};
use bulkhead_tests::server::Server;
use serde_json::json;

pub(super) fn add(table: &mut Table) {
    json_faults(table);
    parameters(table);
    not_openpgp(table);
    not_opened(table);
    too_costly(table);
}

fn json_faults(table: &mut Table) {
    let many = (0..1025).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>();
    let many = format!("{{{}}}", many.join(","));
    let nested = format!("{{\"a\":{}", "[".repeat(200));
    for (situation, body) in [
        ("empty body", &b""[..]),
        ("JSON that is cut off", b"{\"message\": \"m\""),
        ("JSON that is not an object", b"[1]"),
        (
            "raw line break in a JSON string",
            b"{\"message\": \"a\nb\"}",
        ),
        (
            "typographic quotation marks",
            "{\u{201c}message\u{201d}: 1}".as_bytes(),
        ),
        (
            "field that occurs twice",
            b"{\"message\": \"a\", \"Message\": \"b\"}",
        ),
        ("too many fields", many.as_bytes()),
        ("deeply nested JSON", nested.as_bytes()),
        ("body that is not UTF-8", b"{\"message\": \"\xff\"}"),
    ] {
        let headers = [("Content-Type", "application/json")];
        let server = Server::shared();
        let response = request(server.address, "POST", "/decryptMessage", &headers, body);
        table.problem(situation, &response);
    }
}

fn parameters(table: &mut Table) {
    for (situation, body) in [
        ("no message", json!({"passphrase": "p"})),
        ("empty message", json!({"passphrase": "p", "message": ""})),
        (
            "message that is not a string",
            json!({"passphrase": "p", "message": 1}),
        ),
        ("no passphrase", json!({"message": "m"})),
        (
            "passphrase that is not a string",
            json!({"passphrase": 5, "message": "m"}),
        ),
        (
            "two passphrases",
            json!({"passphrase": "p", "passphrase_base64": "cA==", "message": "m"}),
        ),
        (
            "passphrase that is not base64",
            json!({"passphrase_base64": "?", "message": "m"}),
        ),
    ] {
        table.problem(situation, &Server::shared().post(&body.to_string(), &[]));
    }
}

fn not_openpgp(table: &mut Table) {
    let armor = |kind: &str| format!("-----BEGIN {kind}-----\n\nAAAA\n-----END {kind}-----\n");
    for (situation, message) in [
        (
            "message that is other text",
            "please find attached".to_owned(),
        ),
        ("message that is PEM", armor("CERTIFICATE")),
        ("message that is a key", armor("PGP PUBLIC KEY BLOCK")),
        ("message that is a signature", armor("PGP SIGNATURE")),
        ("message that was binary", pasted("binary-read-as-utf8").1),
    ] {
        table.problem(situation, &Server::shared().decrypt(PASSPHRASE, &message));
    }
}

/// Returns the passphrase and the message of a request in `pasted.jsonl`.
fn pasted(name: &str) -> (String, String) {
    let requests = fixtures::pasted();
    let found = requests.iter().find(|request| request["name"] == name);
    let request = &found.expect("request should exist")["request"];
    let text = |field: &str| {
        let text = request[field].as_str();
        text.expect("field should be a string").to_owned()
    };
    (text("passphrase"), text("message"))
}

fn not_opened(table: &mut Table) {
    let server = Server::shared();
    let cut = SAMPLE.lines().take(3).collect::<Vec<_>>().join("\n");
    let cut_off = format!("{cut}\n-----END PGP MESSAGE-----\n");
    table.problem(
        "message that was cut off",
        &server.decrypt(PASSPHRASE, &cut_off),
    );
    let stray = SAMPLE.replacen("jA0E", "jA0\u{e9}E", 1);
    table.problem(
        "stray character in a message",
        &server.decrypt(PASSPHRASE, &stray),
    );
    table.problem("wrong passphrase", &server.decrypt("wrong", SAMPLE));
    for (situation, name) in [
        ("message to public keys", "gpg22-public-only-rsa2048"),
        ("message that is only signed", "gpg22-signed-only"),
        (
            "message without integrity protection",
            "gpg22-no-mdc-aes256-utf8",
        ),
        ("message with two literals", "gpg22-hand-two-literals"),
        ("unknown compression", "gpg22-hand-unknown-compression-99"),
        (
            "unknown critical packet",
            "gpg22-hand-unknown-critical-tag-35",
        ),
        (
            "user id instead of data",
            "gpg22-hand-user-id-instead-of-literal",
        ),
        (
            "message that is not encrypted",
            "gpg22-hand-skesk-then-literal",
        ),
        (
            "packet of type 20",
            "openpgpjs5-packet20-aes256-gcm-zip-json",
        ),
        ("unknown hash", "rnp-sm3"),
        ("unknown cipher", "rnp-sm4"),
    ] {
        let rejected = fixtures::read("refused.jsonl");
        let found = rejected.into_iter().find(|fixture| fixture.name == name);
        let fixture = found.unwrap_or_else(|| panic!("{name} should exist"));
        let passphrase = fixture
            .passphrases
            .first()
            .map_or(PASSPHRASE, String::as_str);
        table.problem(situation, &server.decrypt(passphrase, &fixture.message));
    }
    let binary = STANDARD.encode(seal(&literal(b"\xff")));
    table.problem(
        "plaintext that is not UTF-8",
        &server.decrypt(PASSPHRASE, &binary),
    );
    let (passphrase, message) = pasted("encrypted-twice-binary");
    table.problem(
        "plaintext that is OpenPGP again",
        &server.decrypt(&passphrase, &message),
    );
}

fn too_costly(table: &mut Table) {
    let large = STANDARD.encode(seal(&literal(&vec![b'x'; 8 << 20])));
    let default = fixtures::text("bench/default.asc");
    let long = literal(&[b'x'; 4096]);
    let long = STANDARD.encode(seal(&long));
    let deep = (0..3).fold(literal(b"x"), |inside, _| {
        packet(8, &[&[0], &inside[..]].concat())
    });
    let deep = STANDARD.encode(seal(&deep));
    let headers = SAMPLE.replacen("\n\n", &format!("\nComment: {}\n\n", "x".repeat(2000)), 1);
    let rfc9580 = fixtures::read("rfc9580.jsonl");
    let argon2 = rfc9580.iter().find(|fixture| fixture.expect.is_some());
    let argon2 = argon2.expect("a message with Argon2 should exist");
    // About a second of hashing: SHA-512 over 65,011,712 bytes for each of 16 session keys.
    let slow = packet(3, b"\x04\x09\x03\x0asaltsalt\xff").repeat(16);
    let slow = STANDARD.encode([slow, packet(18, &[1; 60])].concat());
    // A session key with AES-256, Argon2 with a salt, two passes, one lane and 1 MiB, and encrypted data.
    let argon2_key = [&[4, 9, 4][..], &[7; 16], &[2, 1, 10]].concat();
    let two_passes = [packet(3, &argon2_key), packet(18, &[1; 60])].concat();
    let two_passes = STANDARD.encode(two_passes);
    for (situation, setting, passphrase, message) in [
        (
            "S2K over its limit",
            &["--s2k-bytes-max", "1MiB"][..],
            "topsecret",
            &default,
        ),
        (
            "Argon2 over its memory",
            &["--argon2-memory-max", "64MiB"][..],
            argon2.passphrases[0].as_str(),
            &argon2.message,
        ),
        (
            "Argon2 over its passes",
            &["--argon2-passes-max", "1"],
            PASSPHRASE,
            &two_passes,
        ),
        (
            "plaintext over its limit",
            &["--plaintext-max", "1KiB"][..],
            PASSPHRASE,
            &long,
        ),
        (
            "too many layers",
            &["--compression-layers-max", "1"][..],
            PASSPHRASE,
            &deep,
        ),
        (
            "large armor headers",
            &["--armor-headers-max", "1KiB"][..],
            "topsecret",
            &headers,
        ),
        (
            "decryption over its time",
            &["--decrypt-timeout", "100ms"],
            PASSPHRASE,
            &slow,
        ),
        (
            "sandbox over its memory",
            &["--guest-memory-max", "4MiB"][..],
            PASSPHRASE,
            &large,
        ),
    ] {
        let server = Server::start(&[setting, &["--kdf-path", "plain"]].concat());
        table.problem(situation, &server.decrypt(passphrase, message));
    }
    let rejected = fixtures::read("refused.jsonl");
    for (situation, name) in [
        ("compression bomb", "gpg22-bomb-bzip2-40MiB"),
        ("too many session keys", "openpgpjs6-passphrases-17"),
    ] {
        let fixture = rejected.iter().find(|fixture| fixture.name == name);
        let fixture = fixture.unwrap_or_else(|| panic!("{name} should exist"));
        let passphrase = &fixture.passphrases[0];
        table.problem(
            situation,
            &Server::shared().decrypt(passphrase, &fixture.message),
        );
    }
}
