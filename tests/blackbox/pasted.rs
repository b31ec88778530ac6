//! Text that people paste into a request to `/decryptMessage`, and requests that go wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_tests::fixtures::{self, SAMPLE};
use bulkhead_tests::http;
use bulkhead_tests::seal::{PASSPHRASE, literal, packet, seal};
use bulkhead_tests::server::Server;
use bulkhead_tests::soak;
use serde_json::{Value, json};
use std::time::Duration;

/// Sends a request and returns its status, its body and its text in lower case.
fn post(request: &Value, accept: &str) -> (u16, Vec<u8>, String) {
    let headers = [("Accept", accept), ("X-Request-Id", "same")];
    let response = Server::shared().post(&request.to_string(), &headers);
    let text = String::from_utf8_lossy(&response.body).to_lowercase();
    (response.status, response.body, text)
}

fn code(message: &str) -> String {
    Server::shared().decrypt(PASSPHRASE, message).problem()
}

/// Returns the armored form of a message.
fn armored(message: &[u8]) -> String {
    let data = STANDARD.encode(message);
    let lines: Vec<_> = data
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN PGP MESSAGE-----\n\n{}\n-----END PGP MESSAGE-----\n",
        lines.join("\n")
    )
}

/// Requests made after public reports, one of each kind.
#[test]
fn reported_requests_return_the_right_response() {
    let cases = fixtures::pasted();
    assert_eq!(cases.len(), 16);
    for case in cases {
        let name = &case["name"];
        let accept = case["accept"].as_str().expect("accept should be a string");
        let (status, body, text) = post(&case["request"], accept);
        assert_eq!(json!(status), case["status"], "{name}: {text}");
        if let Some(plaintext) = case["plaintext_base64"].as_str() {
            let plaintext = STANDARD.decode(plaintext).expect("text should be base64");
            let returned = match serde_json::from_slice::<Value>(&body) {
                Ok(document) => document["DecryptedMessage"]
                    .as_str()
                    .map(|text| text.as_bytes().to_vec())
                    .expect("the plaintext should be a string"),
                Err(_) => body,
            };
            assert_eq!(returned, plaintext, "{name}");
        } else {
            let document: Value = serde_json::from_slice(&body).expect("body should be JSON");
            assert_eq!(document["code"], case["code"], "{name}: {text}");
            let word = case["detail_contains"].as_str().unwrap_or_default();
            assert!(text.contains(&word.to_lowercase()), "{name}: {text}");
        }
    }
}

#[test]
fn text_without_a_message_is_named() {
    let key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ0aAABYJKwYBBAHaRw8BAQdA\n-----END PGP PUBLIC KEY BLOCK-----\n";
    let certificate =
        "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ1dX\n-----END CERTIFICATE-----\n";
    let signed = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nhello\n-----BEGIN PGP SIGNATURE-----\n\niHUEARYKAB0\n-----END PGP SIGNATURE-----\n";
    for (text, word) in [
        (key, "key"),
        (certificate, "PEM"),
        (signed, "signed"),
        ("\u{fffd}\u{fffd}\u{1}\u{2}PNG", "binary"),
        ("the weather is fine", "No OpenPGP message"),
    ] {
        let response = Server::shared().decrypt(PASSPHRASE, text);
        assert_eq!(response.problem(), "not_openpgp", "{text}");
        let detail = response.json()["detail"].to_string();
        assert!(detail.contains(word), "{detail}");
    }
}

/// The response depends on the message alone: it is the same, byte for byte, for the right and for a wrong passphrase.
#[test]
fn damage_is_independent_of_the_passphrase() {
    let whole = armored(&seal(&literal(&[b'x'; 500])));
    let data = whole.find("\n\n").expect("armor should have data") + 2;
    let mut damaged = Vec::new();
    for at in (data + 30..whole.len() - 40).step_by(37) {
        damaged.push(whole[..at].to_owned());
        damaged.push([&whole[..at], "\n-----END PGP MESSAGE-----\n"].concat());
        damaged.push([&whole[..at], "*", &whole[at + 1..]].concat());
        damaged.push([&whole[..at], "\u{fffd}", &whole[at..]].concat());
    }
    let lines: Vec<_> = whole.split_inclusive('\n').collect();
    for missing in 2..lines.len() - 2 {
        damaged.push([&lines[..missing], &lines[missing + 1..]].concat().concat());
    }
    assert!(damaged.len() > 50);
    for message in &damaged {
        let [right, wrong] = [PASSPHRASE, "wrong"].map(|passphrase| {
            post(
                &json!({"passphrase": passphrase, "message": message}),
                "application/json",
            )
        });
        assert_eq!(right, wrong, "{message}");
        assert!(
            right.2.contains("\"damaged_message\""),
            "{}: {message}",
            right.2
        );
    }
}

#[test]
fn each_of_several_messages_is_tried() {
    let other = SAMPLE.replace("pEoI2S82", "pEoI2S83");
    let mine = armored(&seal(&literal(b"mine")));
    for text in [
        [other.as_str(), &mine].concat(),
        [&mine, "\n", &other].concat(),
        [&mine.replace('\n', "\\n"), "\n\nRe: ", &other].concat(),
    ] {
        let opened = Server::shared().decrypt(PASSPHRASE, &text);
        assert_eq!(opened.json()["DecryptedMessage"], "mine", "{text}");
    }
    assert_eq!(
        code(&[other.as_str(), &other.replace("GnuPG", "x")].concat()),
        "undecryptable"
    );
    // A damaged message beside an intact one for another passphrase.
    let cut = &mine[..mine.len() - 60];
    let text = [&other, cut].concat();
    for passphrase in [PASSPHRASE, "wrong"] {
        let response = Server::shared().decrypt(passphrase, &text);
        assert_eq!(response.problem(), "damaged_message");
    }
    // All messages together have one limit on session keys.
    let many: Vec<_> = (0..17_u8)
        .map(|n| armored(&seal(&literal(&[b'a', n]))))
        .collect();
    let response = Server::shared().decrypt("wrong", &many.concat());
    assert_eq!(response.problem(), "too_costly");
    assert!(
        response.json()["detail"]
            .to_string()
            .contains("--session-keys-max")
    );
}

#[test]
fn passphrase_is_tried_with_and_without_its_line_break() {
    for end in ["\n", "\r\n", "\r"] {
        let response = Server::shared().decrypt(&format!("topsecret{end}"), SAMPLE);
        assert_eq!(response.json()["DecryptedMessage"], "Nice work!\n");
    }
    for other in ["topsecret\n\n", " topsecret", "topsecret "] {
        let response = Server::shared().decrypt(other, SAMPLE);
        assert_eq!(response.problem(), "undecryptable", "{other:?}");
    }
    let detail = Server::shared().decrypt("", SAMPLE).json()["detail"].to_string();
    for word in ["UTF-8", "spaces", "line breaks"] {
        assert!(detail.contains(word), "{detail}");
    }
}

#[test]
fn passphrase_in_base64_has_any_bytes() {
    let request = json!({"passphrase_base64": STANDARD.encode("topsecret"), "message": SAMPLE});
    assert_eq!(
        post(&request, "application/octet-stream").1,
        b"Nice work!\n"
    );
    for (passphrase, parameter) in [
        (json!({"passphrase_base64": "*"}), "passphrase_base64"),
        (
            json!({"passphrase_base64": "cA==", "passphrase": "p"}),
            "passphrase_base64",
        ),
        (json!({}), "passphrase"),
    ] {
        let mut request = passphrase;
        request["message"] = SAMPLE.into();
        let response = Server::shared().post(&request.to_string(), &[]);
        assert_eq!(response.problem(), "invalid_parameter");
        assert_eq!(response.json()["parameter"], parameter);
    }
}

#[test]
fn common_mistakes_get_advice() {
    let unprotected = [&seal(b"")[..10], &packet(9, &[1; 40])].concat();
    let twice = seal(&literal(&seal(&literal(b"inside"))));
    for (message, code, word) in [
        (unprotected, "unsupported_message", "encrypt the data"),
        (twice, "not_text", "encrypted twice"),
    ] {
        let response = Server::shared().decrypt(PASSPHRASE, &armored(&message));
        assert_eq!(response.problem(), code);
        let detail = response.json()["detail"].to_string();
        assert!(detail.contains(word), "{detail}");
    }
    for (body, word) in [
        (
            "{\"passphrase\": \"p\", \"message\": \"a\nb\"}",
            "raw line break",
        ),
        ("{\u{201c}passphrase\u{201d}: \"p\"}", "typographic"),
    ] {
        let response = Server::shared().post(body, &[]);
        assert_eq!(response.problem(), "invalid_json");
        let detail = response.json()["detail"].to_string();
        assert!(detail.contains(word), "{detail}");
    }
}

#[test]
fn compressed_body_is_rejected_with_the_accepted_codings() {
    for coding in ["gzip", "identity, br"] {
        let headers = [
            ("Content-Type", "application/json"),
            ("Content-Encoding", coding),
        ];
        let address = Server::shared().address;
        let response = http::request(address, "POST", "/decryptMessage", &headers, b"{}");
        assert_eq!(response.status, 415, "{coding}");
        assert_eq!(response.problem(), "unsupported_media_type");
        assert_eq!(response.header("accept-encoding"), Some("identity"));
    }
    let headers = [("Content-Encoding", "identity")];
    let body = json!({"passphrase": PASSPHRASE, "message": SAMPLE}).to_string();
    assert_eq!(Server::shared().post(&body, &headers).status, 200);
}

/// Texts that almost contain messages everywhere. Each takes at most twice the processor time of a message of the same
/// size.
#[test]
fn hostile_text_takes_at_most_twice_the_time_of_a_message() {
    /// Caches that other processes use cost time too.
    const NOISE: Duration = Duration::from_millis(300);
    let bytes: usize = if soak() { 24 << 20 } else { 6 << 20 };
    let server = Server::start(&[]);
    let time = |message: &str| {
        let before = server.cpu_time();
        let response = server.decrypt_bytes(PASSPHRASE, message);
        assert!(matches!(response.status, 200 | 422), "{}", response.status);
        server.cpu_time().saturating_sub(before)
    };
    let content: Vec<u8> = (0..bytes / 4 * 3)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    let message = time(&STANDARD.encode(seal(&literal(&content))));
    let begin = "-----BEGIN PGP MESSAGE-----\n\n";
    // The data of each of these may be as long as the rest of the text.
    let many = "-----BEGIN PGP X-----\n".repeat(64) + &"A ".repeat(15);
    let mut slow = Vec::new();
    for word in [
        "jA0ECQMC ",
        "jA0ECQMCVady3RUyJw3XAAAA ",
        "jA0ECQMCVady3RUyJw3X0kcBF.",
        "hQEMAAAAAAAAAAAAAQgA ",
        "-----BEGIN PGP MESSAGE-----\n",
        "-----BEGIN PGP MESSAGE-----\n\njA0ECQMC\n",
        "&amp;#43;%25\\\\\\<br",
        "LS0tLS1CRUdJTiBQR1AgTUVTU0FHRS0tLS0t\n",
        "8c0d0409030255a772dd1532270dd7 ",
        "please find attached ",
        "wwwwwwww ",
        "jAQECQAC0kcB ",
        "-----BEGIN X-----\r\nA: b\r\n\r\n",
        "/8EA ",
        "hQEMA ",
        "6GgA ",
        // A marker and an unencrypted packet of a megabyte.
        "ygNQR1DL/wAQAABiAAAAAAAA",
        " ",
        "\n",
    ] {
        for announcement in ["", begin, &many] {
            // Escapes of JSON must not make a body of more than `--body-max`.
            let length = serde_json::json!(word).to_string().len() - 2;
            let text = announcement.to_owned() + &word.repeat(bytes / length);
            let time = time(&text);
            if time > 2 * message + NOISE {
                slow.push((announcement.to_owned(), word, time));
            }
        }
    }
    assert_eq!(slow, [], "a message takes {message:?}");
}
