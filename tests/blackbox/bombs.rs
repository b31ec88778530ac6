//! Small messages with a large cost, and messages that hide how they were protected. All of them
//! are authentic or were before a change: their makers know the passphrase.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::seal::{PASSPHRASE, literal, packet, seal};
use bulkhead_tests::server::Server;
use pgp::composed::MessageBuilder;
use pgp::crypto::aead::{AeadAlgorithm, ChunkSize};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::types::{CompressionAlgorithm, StringToKey};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// A compressed packet that decompresses to itself, by Taylor R. Campbell
/// (mumble.net/~campbell/misc/pgp-quine/).
const QUINE: &str = "oLQBAAMA/P+gtAEADQDy/wADAPz/oLQBAA0A8v+CcKAcAAAFAPr/gnCgHAAABQD6/wAFAPr/ABQA6/+CcKAcAAAFAPr/AAUA+v8AFADr/0KIIcQAABQA6/9CiCHEAAAUAOv/QoghxAAAFADr/0KIIcQAABQA6/9CiCHEAAAAAP//AAAA//8ACwD0/0KIIcQAAAAA//8AAAD//wALAPT/AjMhTEAAAQD+/wACMyFMQAABAP7/AAA=";

fn code(server: &Server, message: &[u8]) -> String {
    server
        .decrypt(PASSPHRASE, &STANDARD.encode(message))
        .problem()
}

/// Checks that the rejection of a message names this flag.
#[track_caller]
fn limited_by(server: &Server, message: &[u8], flag: &str) {
    let response = server.decrypt(PASSPHRASE, &STANDARD.encode(message));
    assert_eq!(response.problem(), "too_costly");
    let detail = response.json()["detail"].to_string();
    assert!(detail.contains(flag), "{detail}");
}

/// Returns a message of `bytes` zeros, compressed and encrypted by rpgp.
fn zeros(bytes: usize, compression: CompressionAlgorithm) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut builder = MessageBuilder::from_bytes("", vec![0; bytes])
        .seipd_v1(&mut rng, SymmetricKeyAlgorithm::AES128);
    builder.compression(compression);
    let s2k = StringToKey::new_iterated(&mut rng, HashAlgorithm::Sha256, 0);
    builder
        .encrypt_with_password(s2k, &PASSPHRASE.into())
        .expect("rpgp should accept the passphrase");
    builder
        .to_vec(&mut rng)
        .expect("rpgp should write the message")
}

/// Returns a "compressed" packet that contains `inside` without compression.
fn layer(inside: &[u8]) -> Vec<u8> {
    packet(8, &[&[0], inside].concat())
}

#[test]
fn sealed_message_opens() {
    let opened = Server::shared().decrypt(PASSPHRASE, &STANDARD.encode(seal(&literal(b"fine"))));
    assert_eq!(opened.json()["DecryptedMessage"], "fine");
}

#[test]
fn compression_bomb_exceeds_a_limit() {
    for compression in [CompressionAlgorithm::ZIP, CompressionAlgorithm::ZLIB] {
        limited_by(
            Server::shared(),
            &zeros(64 << 20, compression),
            "--plaintext-max",
        );
    }
    // BZip2 compresses this to 100 bytes, so that the ratio reaches its limit long before the size.
    let bzip2 = zeros(8 << 20, CompressionAlgorithm::BZip2);
    limited_by(Server::shared(), &bzip2, "--compression-ratio-max");
    let generous = Server::start(&["--compression-ratio-max", "1000000"]);
    let opened = generous.decrypt_bytes(PASSPHRASE, &STANDARD.encode(&bzip2));
    assert_eq!((opened.status, opened.body.len()), (200, 8 << 20));
}

#[test]
fn nested_compression_exceeds_the_layer_limit() {
    let server = Server::shared();
    limited_by(
        server,
        &seal(&STANDARD.decode(QUINE).expect("text should be base64")),
        "--compression-layers-max",
    );
    let mut nested = literal(b"in four layers");
    for _ in 0..4 {
        nested = layer(&nested);
    }
    let opened = server.decrypt(PASSPHRASE, &STANDARD.encode(seal(&nested)));
    assert_eq!(opened.json()["DecryptedMessage"], "in four layers");
    for _ in 4..5_000 {
        nested = layer(&nested);
    }
    limited_by(server, &seal(&nested), "--compression-layers-max");
    let bushy = layer(&literal(b"x")).repeat(1000);
    assert_eq!(code(server, &seal(&bushy)), "unsupported_message");
    // Each of these packets decompresses to the limit without a literal packet.
    let empty = layer(&packet(21, &[0; 1000])).repeat(200);
    assert_eq!(code(server, &seal(&empty)), "unsupported_message");
}

#[test]
fn nested_encryption_and_several_literals_are_rejected() {
    let server = Server::shared();
    let once = seal(&literal(b"x"));
    assert_eq!(code(server, &seal(&once)), "unsupported_message");
    let two = [literal(b"one"), literal(b"two")].concat();
    assert_eq!(code(server, &seal(&two)), "unsupported_message");
    assert_eq!(code(server, &seal(b"")), "unsupported_message");
    assert_eq!(
        code(server, &[once, literal(b"appended")].concat()),
        "unsupported_message"
    );
}

/// The message follows half a million packets without content.
#[test]
fn message_opens_behind_half_a_million_packets() {
    let server = Server::shared();
    let markers = [b"\xca\x03PGP".repeat(500_000), literal(b"at the end")].concat();
    let opened = server.decrypt(PASSPHRASE, &STANDARD.encode(seal(&markers)));
    assert_eq!(opened.json()["DecryptedMessage"], "at the end");
    // The same packets outside of the encryption, and pieces of one byte inside.
    let outside = [b"\xca\x03PGP".repeat(500_000), seal(&literal(b"x"))].concat();
    let opened = server.decrypt(PASSPHRASE, &STANDARD.encode(outside));
    assert_eq!(opened.json()["DecryptedMessage"], "x");
    let pieces = [
        b"\xcb\xe0b\xe0\0".to_vec(),
        b"\xe0\0".repeat(500_000),
        b"\0".to_vec(),
    ]
    .concat();
    let opened = server.decrypt_bytes(PASSPHRASE, &STANDARD.encode(seal(&pieces)));
    // The format, the length of the name and four bytes of date precede the data.
    assert_eq!((opened.status, opened.body.len()), (200, 500_002 - 6));
}

/// Data that SEIPD version 1 protected, in a packet without protection.
#[test]
fn message_without_integrity_protection_is_rejected() {
    let whole = seal(&literal(b"Attack at dawn"));
    let skesk = &whole[..10];
    let encrypted = &whole[whole.len() - 22 - 16 - 2 - literal(b"Attack at dawn").len()..];
    let server = Server::shared();
    for body in [encrypted, &encrypted[..encrypted.len() - 22]] {
        assert_eq!(
            code(server, &[skesk, &packet(9, body)].concat()),
            "unsupported_message"
        );
    }
    let without_mdc = [&[1], &encrypted[..encrypted.len() - 22]].concat();
    assert_eq!(
        code(server, &[skesk, &packet(18, &without_mdc)].concat()),
        "undecryptable"
    );
}

/// Chunks of SEIPD version 2 are missing, repeated or swapped, the end is missing, or the version
/// differs.
#[test]
fn rearranged_chunks_fail_authentication() {
    const CHUNK_BYTES: usize = 64 + 16;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let text = "Attack at dawn. ".repeat(40);
    let mut builder = MessageBuilder::from_bytes("", text.clone().into_bytes()).seipd_v2(
        &mut rng,
        SymmetricKeyAlgorithm::AES128,
        AeadAlgorithm::Ocb,
        ChunkSize::C64B,
    );
    let s2k = StringToKey::new_iterated(&mut rng, HashAlgorithm::Sha256, 0);
    builder
        .encrypt_with_password(&mut rng, s2k, &PASSPHRASE.into())
        .expect("rpgp should accept the passphrase");
    let message = builder
        .to_vec(&mut rng)
        .expect("rpgp should write the message");
    let server = Server::shared();
    let opened = server.decrypt(PASSPHRASE, &STANDARD.encode(&message));
    assert_eq!(opened.json()["DecryptedMessage"], text);

    // An SKESK with a length field of one byte, then a SEIPD with a length field of two bytes.
    let (skesk, seipd) = message.split_at(2 + usize::from(message[1]));
    assert!(
        seipd[0] == 0xd2 && (192..224).contains(&seipd[1]),
        "{:?}",
        &seipd[..3]
    );
    let (fixed, chunks) = seipd[3..].split_at(4 + 32);
    let (chunks, final_tag) = chunks.split_at(chunks.len() - 16);
    let chunks: Vec<_> = chunks.chunks(CHUNK_BYTES).collect();
    assert!(chunks.len() > 8);
    let sealed = |fixed: &[u8], chunks: &[&[u8]], end: &[u8]| {
        let body = [fixed, &chunks.concat(), end].concat();
        [skesk, &packet(18, &body)].concat()
    };
    let as_it_was = server.decrypt(
        PASSPHRASE,
        &STANDARD.encode(sealed(fixed, &chunks, final_tag)),
    );
    assert_eq!(as_it_was.status, 200);

    let (mut repeated, mut swapped) = (chunks.clone(), chunks.clone());
    repeated.insert(1, chunks[1]);
    swapped.swap(1, 2);
    let version_1 = [&[1], &fixed[1..]].concat();
    for (what, altered) in [
        (
            "first chunk missing",
            sealed(fixed, &chunks[1..], final_tag),
        ),
        (
            "last chunk missing",
            sealed(fixed, &chunks[..chunks.len() - 1], final_tag),
        ),
        ("all chunks missing", sealed(fixed, &[], final_tag)),
        ("one chunk repeated", sealed(fixed, &repeated, final_tag)),
        ("two chunks swapped", sealed(fixed, &swapped, final_tag)),
        ("final tag missing", sealed(fixed, &chunks, b"")),
        (
            "version changed to 1",
            sealed(&version_1, &chunks, final_tag),
        ),
    ] {
        assert_eq!(code(server, &altered), "undecryptable", "{what}");
    }
}

#[test]
fn memory_returns_to_normal_after_decompression_bombs() {
    let server = Server::start(&[]);
    let incompressible: Vec<u8> = (0..20_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let bombs = [
        zeros(64 << 20, CompressionAlgorithm::ZIP),
        zeros(64 << 20, CompressionAlgorithm::BZip2),
        seal(&STANDARD.decode(QUINE).expect("text should be base64")),
        seal(&b"\xca\x03PGP".repeat(1 << 20)),
        b"\xc3\x04\x04\x07\0\x08".repeat(60_000),
        seal(&literal(&incompressible)),
    ];
    let all = || {
        for bomb in &bombs {
            let status = server
                .decrypt_bytes(PASSPHRASE, &STANDARD.encode(bomb))
                .status;
            assert!(status == 200 || status == 422, "{status}");
        }
        assert_eq!(server.decrypt(PASSPHRASE, SAMPLE).status, 200);
    };
    // Buffers that the server keeps after one round serve the next round. They are small.
    let before = server.resident_bytes();
    for _ in 0..3 {
        all();
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(
        grown < 16 << 20,
        "memory should not grow by {} MiB",
        grown >> 20
    );
}
