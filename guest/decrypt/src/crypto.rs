//! The imported crypto interfaces as a trait, so that the code above it can be tested natively.

use crate::rejection::Rejection;
use bulkhead_crypto::{AeadMode, Cipher, Hash};
use zeroize::Zeroizing;

/// The result of [`Crypto::aead_open`].
pub(crate) enum AeadResult {
    Authentic(Vec<u8>),
    Unauthentic,
    /// The mode does not support the cipher, or the key or nonce has the wrong length.
    Invalid,
}

/// Key derivation and bulk crypto. `wit/crypto` documents the functions.
pub(crate) trait Crypto {
    fn s2k(
        &mut self,
        hash: Hash,
        salt: &[u8],
        passphrase: &[u8],
        count: u32,
        key_len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Rejection>;

    fn argon2id(
        &mut self,
        salt: &[u8],
        passphrase: &[u8],
        passes: u8,
        lanes: u8,
        memory_kib: u32,
        key_len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Rejection>;

    /// Returns `None` if the key has the wrong length for the cipher.
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
