//! The operations of the `bulkhead:crypto` interfaces, in plain Rust.
//!
//! The functions are pure and work on bytes: they do not parse packets, do I/O or read a clock. The host compiles this
//! crate natively, where RustCrypto uses SHA-NI and AES-NI if the processor has them. `guest/crypto-soft` compiles it to
//! Wasm for offline builds, and `guest/decrypt` uses its tables of algorithms.
//!
//! Callers check the cost of a key derivation beforehand ([`KdfLimits`]). A long S2K derivation can be interrupted
//! ([`S2k::derive`]).

#[macro_use]
mod registry;

mod aead;
mod argon2id;
mod cipher;
mod hash;
mod limits;
mod s2k;
mod wit;

pub use aead::{AeadMode, TAG_LEN, aead_open};
pub use argon2id::Argon2id;
pub use cipher::{Cipher, cfb_decrypt};
pub use hash::{Hash, sha1};
pub use limits::{KdfLimit, KdfLimits, OverLimit};
pub use s2k::{Interrupted, KEY_LEN_MAX, Pass, Piece, S2k, decode_count};

/// An argument that the algorithm is not defined for, such as a key or nonce of the wrong length, or a cipher whose block
/// does not fit the mode. The same call fails again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an argument is outside the definition of the algorithm")]
pub struct Invalid;

#[cfg(test)]
mod against_rpgp;
