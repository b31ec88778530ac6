//! String-to-key (S2K) specifiers other than Argon2: RFC 9580 sections 3.7.1.1 to 3.7.1.3.

use crate::{Hash, Invalid};
use sha1::digest::{Digest, Output};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The longest key a derivation gives, in bytes. Twice what the longest cipher takes.
pub const KEY_LEN_MAX: usize = 64;

/// The hash is fed pieces of about this many bytes: large enough that the calls do not count,
/// small enough for the first-level cache and for a prompt answer to an interruption (32 µs at
/// 2 GB/s).
const PIECE_BYTES: usize = 64 * 1024;

/// One derivation: what to hash, how long, and for a key of which length.
///
/// The simple form is an empty salt and `bytes` 0, the salted form `bytes` 0.
#[derive(Clone, Copy)]
pub struct S2k<'a> {
    hash: Hash,
    salt: &'a [u8],
    passphrase: &'a [u8],
    bytes: u32,
    key_len: usize,
}

/// [`S2k::derive`] was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

impl<'a> S2k<'a> {
    /// `bytes` is the decoded count (RFC 9580 section 3.7.1.3), `key_len` is in bytes and at
    /// most [`KEY_LEN_MAX`].
    pub fn new(
        hash: Hash,
        salt: &'a [u8],
        passphrase: &'a [u8],
        bytes: u32,
        key_len: usize,
    ) -> Result<Self, Invalid> {
        if key_len > KEY_LEN_MAX {
            return Err(Invalid);
        }
        Ok(Self {
            hash,
            salt,
            passphrase,
            bytes,
            key_len,
        })
    }

    /// Bytes that [`Self::derive`] will hash, over all passes.
    pub fn bytes_hashed(&self) -> u64 {
        self.passes() as u64 * self.bytes_per_pass()
    }

    /// Derives the key. `go_on` is asked about every 64 KiB of hashing; once it says no, the work
    /// ends and everything derived so far is wiped.
    pub fn derive(
        &self,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Zeroizing<Vec<u8>>, Interrupted> {
        let mut key = Zeroizing::new(Vec::with_capacity(KEY_LEN_MAX));
        let piece = self.piece();
        for number in 0..self.passes() {
            let mut pass = self.pass(number, &piece);
            while pass.left() > 0 {
                if !go_on() {
                    return Err(Interrupted);
                }
                pass.advance(1);
            }
            self.append(&mut key, &pass.finish());
        }
        Ok(key)
    }

    /// The pass that hashes as many zero bytes first as its `number` says, from 0 on. All passes
    /// have one [`Self::piece`].
    pub fn pass(&self, number: usize, piece: &Piece) -> Pass {
        Pass {
            hasher: self.hasher(number),
            piece: piece.clone(),
            at: 0,
            left: self.bytes_per_pass(),
        }
    }

    /// Appends the digest of the next pass to a key, as much of it as belongs there.
    pub fn append(&self, key: &mut Vec<u8>, digest: &[u8]) {
        key.extend_from_slice(&digest[..digest.len().min(self.key_len - key.len())]);
    }

    /// What is hashed, and with what.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Bytes of salt and passphrase together.
    pub fn unit_len(&self) -> usize {
        self.salt.len() + self.passphrase.len()
    }

    /// Salt and passphrase: what is repeated.
    pub fn unit(&self) -> Zeroizing<Vec<u8>> {
        let mut unit = Zeroizing::new(Vec::with_capacity(self.unit_len()));
        unit.extend_from_slice(self.salt);
        unit.extend_from_slice(self.passphrase);
        unit
    }

    /// Digests that make up the key.
    pub fn passes(&self) -> usize {
        self.key_len.div_ceil(self.hash.digest_len())
    }

    /// Bytes of repeated salt and passphrase that each pass hashes. They are hashed whole at least
    /// once, however small the count. Where both are empty there is nothing to repeat, however
    /// large it is.
    pub fn bytes_per_pass(&self) -> u64 {
        match self.unit_len() as u64 {
            0 => 0,
            unit => unit.max(self.bytes.into()),
        }
    }

    fn hasher(&self, zeros: usize) -> Box<dyn Hasher> {
        match self.hash {
            Hash::Md5 => begun::<md5::Md5>(zeros),
            Hash::Sha1 => begun::<sha1::Sha1>(zeros),
            Hash::Ripemd160 => begun::<ripemd::Ripemd160>(zeros),
            Hash::Sha224 => begun::<sha2::Sha224>(zeros),
            Hash::Sha256 => begun::<sha2::Sha256>(zeros),
            Hash::Sha384 => begun::<sha2::Sha384>(zeros),
            Hash::Sha512 => begun::<sha2::Sha512>(zeros),
            Hash::Sha3_256 => begun::<sha3::Sha3_256>(zeros),
            Hash::Sha3_512 => begun::<sha3::Sha3_512>(zeros),
        }
    }

    /// Salt and passphrase, repeated whole up to about [`PIECE_BYTES`] (or once, if longer), so
    /// that consecutive pieces continue the sequence.
    pub fn piece(&self) -> Piece {
        let unit = self.unit_len();
        let wanted = usize::try_from(self.bytes_per_pass()).unwrap_or(PIECE_BYTES);
        let repeats = (wanted.min(PIECE_BYTES) / unit.max(1)).max(1) + 1;
        let repeats = if unit > PIECE_BYTES { 1 } else { repeats };
        let mut piece = Zeroizing::new(Vec::with_capacity(unit * repeats));
        for _ in 0..repeats {
            piece.extend_from_slice(self.salt);
            piece.extend_from_slice(self.passphrase);
        }
        Arc::new(piece)
    }
}

/// Salt and passphrase, repeated; wiped with the last pass that has it.
pub type Piece = Arc<Zeroizing<Vec<u8>>>;

/// One pass of a derivation, on the way.
pub struct Pass {
    hasher: Box<dyn Hasher>,
    piece: Piece,
    /// What comes next of the piece.
    at: usize,
    left: u64,
}

impl Pass {
    /// Bytes that are still to be hashed.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Hashes `bytes`, rounded up to pieces of about 64 KiB, or what is left.
    pub fn advance(&mut self, bytes: u64) {
        let stop_at = self.left.saturating_sub(bytes);
        while self.left > stop_at {
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let rest = &self.piece[self.at..];
            // A piece may be a passphrase of megabytes.
            let take = rest.len().min(2 * PIECE_BYTES).min(left);
            self.hasher.feed(&rest[..take]);
            self.left -= take as u64;
            self.at = (self.at + take) % self.piece.len();
        }
    }

    /// The digest of what was hashed.
    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        self.hasher.digest()
    }
}

/// Any of the hashes.
trait Hasher: Send {
    fn feed(&mut self, data: &[u8]);
    fn digest(self: Box<Self>) -> Zeroizing<Vec<u8>>;
}

impl<D: Digest + Send> Hasher for D {
    fn feed(&mut self, data: &[u8]) {
        self.update(data);
    }

    fn digest(self: Box<Self>) -> Zeroizing<Vec<u8>> {
        let mut digest: Output<D> = self.finalize();
        let kept = Zeroizing::new(digest.to_vec());
        zeroize::Zeroize::zeroize(digest.as_mut_slice());
        kept
    }
}

fn begun<D: Digest + Send + 'static>(zeros: usize) -> Box<dyn Hasher> {
    let mut hasher = D::new();
    hasher.update(&[0; KEY_LEN_MAX][..zeros]);
    Box::new(hasher)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It did not end.
    #[test]
    fn nothing_to_repeat_is_nothing_to_hash() {
        let empty = |bytes| S2k::new(Hash::Sha1, b"", b"", bytes, 16).expect("a derivation");
        assert_eq!(empty(1000).bytes_hashed(), 0);
        let key = empty(1000).derive(&mut || true).expect("not interrupted");
        // SHA-1 of nothing (FIPS 180-4).
        assert_eq!(key[..4], [0xda, 0x39, 0xa3, 0xee]);
        assert_eq!(empty(0).derive(&mut || true).expect("not interrupted"), key);
    }

    /// A passphrase of megabytes made one step of all of it.
    #[test]
    fn a_long_passphrase_is_hashed_in_steps() {
        let passphrase: Vec<u8> = (0..=250).cycle().take(1_000_000).collect();
        let s2k = S2k::new(Hash::Sha256, b"saltsalt", &passphrase, 2_500_000, 32).expect("valid");
        let mut pass = s2k.pass(0, &s2k.piece());
        let mut text = sha2::Sha256::new();
        let unit = s2k.unit();
        text.update(&unit[..]);
        text.update(&unit[..]);
        text.update(&unit[..2_500_000 - 2 * unit.len()]);
        while pass.left() > 0 {
            let before = pass.left();
            pass.advance(1);
            assert!(before - pass.left() <= 2 * PIECE_BYTES as u64);
        }
        assert_eq!(pass.finish()[..], text.finalize()[..]);
    }
}
