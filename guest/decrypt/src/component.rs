//! The exports and imports of the component.

use crate::bindings::bulkhead::crypto::{bulk, kdf};
use crate::bindings::exports::bulkhead::component::about;
use crate::bindings::exports::bulkhead::decrypt::decryptor::{Guest, Limits, Refusal};
use crate::crypto::{AeadResult, Crypto};
use zeroize::Zeroizing;

struct Component;

#[expect(
    unsafe_code,
    reason = "exported functions have fixed names, which Rust calls unsafe"
)]
mod exports {
    crate::bindings::export!(Component with_types_in crate::bindings);
    use super::Component;
}

impl Guest for Component {
    fn open(message: Vec<u8>, passphrase: String, limits: Limits) -> Result<Vec<u8>, Refusal> {
        crate::open(message, &Zeroizing::new(passphrase), &limits, &mut Imported)
    }
}

impl about::Guest for Component {
    fn describe() -> about::Description {
        about::Description {
            name: "decrypt".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Opens passphrase-encrypted OpenPGP messages (RFC 9580, GnuPG)".into(),
        }
    }

    fn self_test() -> Result<(), String> {
        const SAMPLE: &[u8] = include_bytes!("sample.asc");
        const LIMITS: Limits = Limits {
            plaintext_octets: 1024,
            compression_layers: 4,
            compression_ratio: 1024,
            session_key_packets: 1,
            armor_header_octets: 1024,
        };
        let open = |passphrase| crate::open(SAMPLE.to_vec(), passphrase, &LIMITS, &mut Imported);
        match open("topsecret") {
            Ok(text) if text == b"Nice work!\n" => {}
            Ok(_) => return Err("the sample opens to something else".into()),
            Err(refusal) => return Err(format!("the sample does not open: {refusal:?}")),
        }
        match open("wrong") {
            Err(Refusal::Undecryptable) => Ok(()),
            _ => Err("a wrong passphrase is not refused".into()),
        }
    }
}

/// The crypto the host (or `crypto-soft`) provides.
struct Imported;

impl Crypto for Imported {
    fn s2k(
        &mut self,
        hash: kdf::Hash,
        salt: &[u8],
        passphrase: &[u8],
        bytes: u32,
        key_len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        Ok(kdf::s2k(hash, salt, passphrase, bytes, byte(key_len)).map(Zeroizing::new)?)
    }

    fn argon2id(
        &mut self,
        salt: &[u8],
        passphrase: &[u8],
        passes: u8,
        lanes: u8,
        memory_kib: u32,
        key_len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let key = kdf::argon2id(salt, passphrase, passes, lanes, memory_kib, byte(key_len));
        Ok(key.map(Zeroizing::new)?)
    }

    fn cfb_decrypt(&mut self, cipher: bulk::Cipher, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        bulk::cfb_decrypt(cipher, key, data).ok()
    }

    fn aead_open(
        &mut self,
        mode: bulk::AeadMode,
        cipher: bulk::Cipher,
        key: &[u8],
        nonce: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> AeadResult {
        match bulk::aead_open(mode, cipher, key, nonce, associated, sealed) {
            Ok(plain) => AeadResult::Authentic(plain),
            Err(bulk::Refusal::Unauthentic) => AeadResult::Unauthentic,
            Err(bulk::Refusal::Invalid) => AeadResult::Invalid,
        }
    }

    fn sha1(&mut self, data: &[u8]) -> Vec<u8> {
        bulk::sha1(data)
    }
}

/// Key lengths are those of the ciphers, 16 to 32.
fn byte(key_len: usize) -> u8 {
    u8::try_from(key_len).expect("no cipher has a key that long")
}
