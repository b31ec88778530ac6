//! What the `bulkhead:crypto` interfaces compute, in plain Rust.
//!
//! Pure functions on octets: no packets, no WIT types, no I/O, no clock. The host compiles this
//! crate natively, where RustCrypto finds SHA-NI and AES-NI at run time; `guest/crypto-soft`
//! compiles it to Wasm for offline builds. What a derivation may cost is for the callers to ask before
//! ([`KdfLimits`]); one that takes long can be interrupted ([`S2k::derive`]).

mod aead;
mod argon2id;
mod cipher;
mod hash;
mod limits;
mod s2k;
mod wit;

pub use aead::{AeadMode, TAG_LEN, open};
pub use argon2id::Argon2id;
pub use cipher::{Cipher, cfb_decrypt};
pub use hash::{Hash, sha1};
pub use limits::{KdfLimit, KdfLimits, OverLimit};
pub use s2k::{Interrupted, KEY_LEN_MAX, Pass, Piece, S2k};

/// An argument the algorithm is not defined for: a key or nonce of another length, a cipher whose
/// block does not fit the mode. Retrying does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid;

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("arguments outside the algorithm's definition")
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod against_rpgp;
