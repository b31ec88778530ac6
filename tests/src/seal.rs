//! Encrypts arbitrary bytes as a message. Tests use it for content that no OpenPGP program would
//! write.

use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::types::StringToKey;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// The passphrase of all messages that are sealed here.
pub const PASSPHRASE: &str = "topsecret";

/// Returns an SKESK version 4 without a session key, followed by a SEIPD version 1 that contains
/// `packets`.
pub fn seal(packets: &[u8]) -> Vec<u8> {
    const CIPHER: SymmetricKeyAlgorithm = SymmetricKeyAlgorithm::AES128;
    let hash_alg = HashAlgorithm::Sha256;
    let key = StringToKey::Simple { hash_alg }
        .derive_key(PASSPHRASE.as_bytes(), CIPHER.key_size())
        .expect("rpgp should derive a key");
    let encrypted = CIPHER
        .encrypt_protected(ChaCha8Rng::seed_from_u64(0), key.as_ref(), packets)
        .expect("rpgp should encrypt");
    let skesk = [4, CIPHER.into(), 0, hash_alg.into()];
    [
        packet(3, &skesk),
        packet(18, &[&[1], &encrypted[..]].concat()),
    ]
    .concat()
}

/// Returns a packet with a header in the new format and a length of five bytes (RFC 9580 section
/// 4.2.1).
pub fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let bytes = u32::try_from(body.len()).expect("packet should be shorter than 4 GiB");
    [&[0xc0 | tag, 255], &bytes.to_be_bytes()[..], body].concat()
}

/// Returns a literal data packet.
pub fn literal(data: &[u8]) -> Vec<u8> {
    packet(11, &[b"b\0\0\0\0\0", data].concat())
}
