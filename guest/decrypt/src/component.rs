//! The exports and imports of the component.

use crate::bindings::bulkhead::crypto::{bulk, kdf};
use crate::bindings::exports::bulkhead::component::about;
use crate::bindings::exports::bulkhead::decrypt::decryptor::{Guest, Limits, Opened, Rejection};
use crate::crypto::{AeadResult, Crypto};
use bulkhead_crypto::{AeadMode, Cipher, Hash};
use zeroize::Zeroizing;

bulkhead_crypto::wit_conversions!(kdf, bulk);

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
    fn open(message: Vec<u8>, passphrase: Vec<u8>, limits: Limits) -> Result<Opened, Rejection> {
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
            plaintext_bytes: 1024,
            compression_layers: 4,
            compression_ratio: 1024,
            session_key_packets: 1,
            armor_header_bytes: 1024,
        };
        let open =
            |passphrase: &[u8]| crate::open(SAMPLE.to_vec(), passphrase, &LIMITS, &mut Imported);
        match open(b"topsecret") {
            Ok(opened) if opened.plaintext == b"Nice work!\n" => {}
            Ok(_) => return Err("the sample message decrypts to another text".into()),
            Err(rejection) => {
                return Err(format!(
                    "the sample message is not decrypted: {rejection:?}"
                ));
            }
        }
        match open(b"wrong") {
            Err(Rejection::Undecryptable) => Ok(()),
            _ => Err("a wrong passphrase is not rejected".into()),
        }
    }
}

/// The crypto functions that the host or `crypto-soft` provides.
struct Imported;

impl Crypto for Imported {
    fn s2k(
        &mut self,
        hash: Hash,
        salt: &[u8],
        passphrase: &[u8],
        count: u32,
        key_len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Rejection> {
        let key = kdf::s2k(hash.into(), salt, passphrase, count, wit_len(key_len));
        Ok(key.map(Zeroizing::new)?)
    }

    fn argon2id(
        &mut self,
        salt: &[u8],
        passphrase: &[u8],
        passes: u8,
        lanes: u8,
        memory_kib: u32,
        key_len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Rejection> {
        let key = kdf::argon2id(
            salt,
            passphrase,
            passes,
            lanes,
            memory_kib,
            wit_len(key_len),
        );
        Ok(key.map(Zeroizing::new)?)
    }

    fn cfb_decrypt(&mut self, cipher: Cipher, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        bulk::cfb_decrypt(cipher.into(), key, data).ok()
    }

    fn aead_open(
        &mut self,
        mode: AeadMode,
        cipher: Cipher,
        key: &[u8],
        nonce: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> AeadResult {
        match bulk::aead_open(mode.into(), cipher.into(), key, nonce, associated, sealed) {
            Ok(plain) => AeadResult::Authentic(plain),
            Err(bulk::Rejection::Unauthentic) => AeadResult::Unauthentic,
            Err(bulk::Rejection::Invalid) => AeadResult::Invalid,
        }
    }

    fn sha1(&mut self, data: &[u8]) -> Vec<u8> {
        bulk::sha1(data)
    }
}

/// Converts a key length, which is that of a cipher and at most 32, to the type of the contract.
fn wit_len(key_len: usize) -> u8 {
    u8::try_from(key_len).expect("a cipher has a short key")
}
