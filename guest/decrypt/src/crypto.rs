//! The imported crypto interfaces as a trait, so that everything above it can be tested natively.

use crate::bindings::bulkhead::crypto::bulk::{AeadMode, Cipher};
use crate::bindings::bulkhead::crypto::kdf::Hash;
use crate::refusal::Refusal;
use zeroize::Zeroizing;

/// What [`Crypto::aead_open`] found.
pub(crate) enum AeadResult {
    Authentic(Vec<u8>),
    Unauthentic,
    /// The cipher does not go with the mode, or a key or nonce has another length.
    Invalid,
}

/// Key derivation and bulk crypto; see `wit/crypto` for what each computes.
pub(crate) trait Crypto {
    fn s2k(
        &mut self,
        hash: Hash,
        salt: &[u8],
        passphrase: &[u8],
        bytes: u32,
        key_len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Refusal>;

    fn argon2id(
        &mut self,
        salt: &[u8],
        passphrase: &[u8],
        passes: u8,
        lanes: u8,
        memory_kib: u32,
        key_len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Refusal>;

    /// `None` if the key has another length than the cipher's.
    fn cfb_decrypt(&mut self, cipher: Cipher, key: &[u8], data: &[u8]) -> Option<Vec<u8>>;

    fn aead_open(
        &mut self,
        mode: AeadMode,
        cipher: Cipher,
        key: &[u8],
        nonce: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> AeadResult;

    fn sha1(&mut self, data: &[u8]) -> Vec<u8>;
}
