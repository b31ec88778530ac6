//! Hostile messages: each gets its error code within the limits, and the server keeps running.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_tests::fixtures::{self, SAMPLE};
use bulkhead_tests::server::Server;

/// Returns the sample in binary form.
fn sample() -> Vec<u8> {
    let data: String = SAMPLE.lines().skip(3).take(2).collect();
    STANDARD.decode(data).expect("text should be base64")
}

/// Returns the sample's session-key packet with another hash and count.
fn skesk(hash: u8, count: u8) -> Vec<u8> {
    let mut packet = sample()[..15].to_vec();
    packet[5] = hash;
    packet[14] = count;
    packet
}

fn code(message: &[u8]) -> String {
    Server::shared()
        .decrypt("topsecret", &STANDARD.encode(message))
        .problem()
}

fn with_data(skesks: &[u8]) -> Vec<u8> {
    [skesks, &sample()[15..]].concat()
}

/// One of each kind of session key and container, with one session-key packet each.
const FLIPPED: [(&str, &str); 7] = [
    ("gnupg-2.2.jsonl", "gpg22-3des-md5-s2k1-none"),
    ("gnupg-2.4.jsonl", "gpg24-ocb-aes-md5-s2k0-none"),
    ("gnupg-2.4.jsonl", "gpg24-ocb-aes-md5-s2k3-zlib"),
    (
        "rnp.jsonl",
        "rnp-11-packet20-ocb-bits1-twofish-sha384-none-ascii",
    ),
    (
        "openpgpjs.jsonl",
        "openpgpjs5-packet20-aes128-eax-none-armorlike",
    ),
    (
        "sequoia.jsonl",
        "sequoia-v2-aes128-eax-in-twofish-ocb-iterated-sha1-zip",
    ),
    (
        "sequoia.jsonl",
        "sequoia-v2-aes128-ocb-in-aes256-gcm-salted-sha512-zip",
    ),
];

/// Decodes armored text or bare base64.
fn dearmored(message: &str) -> Vec<u8> {
    let message = message.replace('\r', "");
    let data: String = match message.split_once("\n\n") {
        Some((_, body)) => body
            .lines()
            .take_while(|line| !line.starts_with(['=', '-']))
            .collect(),
        None => message.lines().collect(),
    };
    STANDARD.decode(data.trim()).expect("text should be base64")
}

#[test]
fn flipped_bit_returns_an_error_without_plaintext() {
    let server = Server::shared();
    let mut messages = vec![("the sample".to_owned(), "topsecret".to_owned(), sample())];
    for (file, name) in FLIPPED {
        let fixture = fixtures::read(file)
            .into_iter()
            .find(|f| f.name == name)
            .expect(name);
        assert_eq!(fixture.passphrases.len(), 1);
        messages.push((
            fixture.name,
            fixture.passphrases[0].clone(),
            dearmored(&fixture.message),
        ));
    }
    for (name, passphrase, bytes) in messages {
        let whole = server.decrypt_bytes(&passphrase, &STANDARD.encode(&bytes));
        assert_eq!(whole.status, 200, "{name}");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let response = server.decrypt_bytes(&passphrase, &STANDARD.encode(&flipped));
            assert_eq!(response.status, 422, "{name}, bit {bit}: {response:?}");
            response.problem();
        }
    }
}

#[test]
fn flipped_bit_in_armor_returns_an_error_or_changes_nothing() {
    for bit in 0..SAMPLE.len() * 8 {
        let mut flipped = SAMPLE.as_bytes().to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(text) = std::str::from_utf8(&flipped) else {
            continue;
        };
        let response = Server::shared().decrypt_bytes("topsecret", text);
        match response.status {
            200 => assert_eq!(response.body, b"Nice work!\n", "bit {bit}"),
            status => assert_eq!(status, 422, "bit {bit}"),
        }
    }
}

#[test]
fn message_with_too_many_session_keys_is_rejected() {
    for count in [17, 60_000] {
        assert_eq!(
            code(&with_data(&skesk(2, 0).repeat(count))),
            "too_costly",
            "{count}"
        );
    }
}

#[test]
fn key_derivation_over_the_limit_is_rejected() {
    let server = Server::start(&["--s2k-bytes-max", "64MiB"]);
    let message = with_data(&skesk(2, 0xff).repeat(2));
    let response = server.decrypt("topsecret", &STANDARD.encode(message));
    assert_eq!(
        (response.status, response.problem().as_str()),
        (422, "too_costly")
    );
    let detail = response.json()["detail"].to_string();
    assert!(detail.contains("--s2k-bytes-max"), "{detail}");
}

#[test]
fn argon2_over_the_limits_is_rejected() {
    for (passes, memory_exponent) in [(1, 17), (1, 31), (255, 10), (1, 255)] {
        let mut packet = vec![0xc3, 22, 4, 9, 4];
        packet.extend([7; 16]);
        packet.extend([passes, 1, memory_exponent]);
        let code = code(&with_data(&packet));
        let expected = if memory_exponent == 255 {
            "unsupported_message"
        } else {
            "too_costly"
        };
        assert_eq!(code, expected, "{passes} {memory_exponent}");
    }
}

#[test]
fn unprotected_data_behind_a_session_key_is_rejected() {
    let key = skesk(2, 0);
    let data = [&[0xc9, 30][..], &[1; 30]].concat();
    assert_eq!(code(&[&key[..], &data].concat()), "unsupported_message");
    let literal = b"\xcb\x0bb\0\0\0\0\0hello";
    assert_eq!(
        code(&[&key[..], &literal[..]].concat()),
        "unsupported_message"
    );
}

#[test]
fn one_byte_pieces_and_false_lengths_are_rejected() {
    // A container in a million pieces of one byte.
    let pieces: Vec<u8> = [0xe0, 1].repeat(1_000_000);
    assert_eq!(
        code(&[&skesk(2, 0)[..], &[0xd2], &pieces, &[0]].concat()),
        "undecryptable"
    );
    let endless = [&skesk(2, 0)[..], &[0xd2, 255, 255, 255, 255, 255], &[1; 30]].concat();
    assert_eq!(code(&endless), "damaged_message");
}

#[test]
fn armor_headers_over_the_limit_are_rejected() {
    let header = "Comment: x\n".repeat(100_000);
    let message = SAMPLE.replace("Version: GnuPG v2\n", &header);
    let response = Server::shared().decrypt("topsecret", &message);
    assert_eq!(response.problem(), "too_costly");
}

#[test]
fn decryption_timeout_frees_the_worker() {
    let server = Server::start(&[
        "--decrypt-timeout",
        "500ms",
        "--decrypt-workers",
        "1",
        "--s2k-bytes-max",
        "100GiB",
    ]);
    // Seconds of work: SHA-512 over 65,011,712 bytes for each session key.
    let slow = with_data(&skesk(10, 0xff).repeat(16));
    let response = server.decrypt("topsecret", &STANDARD.encode(slow));
    assert_eq!(response.problem(), "too_costly");
    assert!(
        response.json()["detail"]
            .to_string()
            .contains("--decrypt-timeout")
    );
    let quick = with_data(&skesk(2, 0));
    assert_eq!(
        server
            .decrypt("topsecret", &STANDARD.encode(quick))
            .problem(),
        "undecryptable"
    );
}

#[test]
fn guest_memory_is_limited_and_released() {
    let server = Server::start(&["--guest-memory-max", "16MiB"]);
    assert_eq!(server.decrypt("topsecret", SAMPLE).status, 200);
    let before = server.resident_bytes();
    for _ in 0..4 {
        let response = server.decrypt("topsecret", &"jA0ECQMC".repeat(3 << 20));
        assert_eq!(response.problem(), "too_costly");
        assert!(
            response.json()["detail"]
                .to_string()
                .contains("--guest-memory-max")
        );
    }
    assert_eq!(server.decrypt("topsecret", SAMPLE).status, 200);
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "memory should not grow by {grown} bytes");
}
