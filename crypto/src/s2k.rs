//! Simple, salted and iterated key derivation (S2K, RFC 9580 sections 3.7.1.1 to 3.7.1.3).

use crate::{Hash, Invalid};
use sha1::digest::{Digest, Output};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Maximum length of a derived key in bytes: twice the longest key of a cipher.
pub const KEY_LEN_MAX: usize = 64;

/// Approximate number of bytes that are hashed in one call. It is large enough to make the cost of the calls negligible,
/// and small enough for the first-level cache and for a quick response to an interruption (32 µs at 2 GB/s).
const PIECE_BYTES: usize = 64 * 1024;

/// The parameters of one S2K derivation.
///
/// The simple form has an empty salt and a count of 0; the salted form has a count of 0.
#[derive(Clone, Copy)]
pub struct S2k<'a> {
    hash: Hash,
    salt: &'a [u8],
    passphrase: &'a [u8],
    count: u32,
    key_len: usize,
}

/// The caller interrupted [`S2k::derive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key derivation was interrupted")]
pub struct Interrupted;

impl<'a> S2k<'a> {
    /// Describes a derivation of a key of `key_len` bytes, at most [`KEY_LEN_MAX`]. `count` is the decoded count: the
    /// number of bytes to hash per pass ([`decode_count`]).
    ///
    /// # Errors
    /// [`Invalid`] if the key is too long.
    pub fn new(
        hash: Hash,
        salt: &'a [u8],
        passphrase: &'a [u8],
        count: u32,
        key_len: usize,
    ) -> Result<Self, Invalid> {
        if key_len > KEY_LEN_MAX {
            return Err(Invalid);
        }
        Ok(Self {
            hash,
            salt,
            passphrase,
            count,
            key_len,
        })
    }

    /// Returns the number of bytes that [`Self::derive`] hashes, over all passes.
    pub fn bytes_hashed(&self) -> u64 {
        self.passes() as u64 * self.bytes_per_pass()
    }

    /// Derives the key.
    ///
    /// `keep_going` is called about every 64 KiB of hashing.
    ///
    /// # Errors
    /// [`Interrupted`] as soon as `keep_going` returns false. All intermediate results are wiped.
    pub fn derive(
        &self,
        keep_going: &mut dyn FnMut() -> bool,
    ) -> Result<Zeroizing<Vec<u8>>, Interrupted> {
        let mut key = Zeroizing::new(Vec::with_capacity(KEY_LEN_MAX));
        let piece = self.piece();
        for number in 0..self.passes() {
            let mut pass = self.pass(number, &piece);
            while pass.left() > 0 {
                if !keep_going() {
                    return Err(Interrupted);
                }
                pass.advance(1);
            }
            self.append(&mut key, &pass.finish());
        }
        Ok(key)
    }

    /// Begins pass `number`, counted from 0, which hashes that many zero bytes first. All passes share one
    /// [`Self::piece`].
    pub fn pass(&self, number: usize, piece: &Piece) -> Pass {
        Pass {
            hasher: self.hasher(number),
            piece: piece.clone(),
            at: 0,
            left: self.bytes_per_pass(),
        }
    }

    /// Appends the digest of the next pass to `key`, up to the length of the key.
    ///
    /// # Panics
    /// If `key` is longer than the key of this derivation.
    pub fn append(&self, key: &mut Vec<u8>, digest: &[u8]) {
        key.extend_from_slice(&digest[..digest.len().min(self.key_len - key.len())]);
    }

    /// Returns the hash algorithm.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Returns the length of [`Self::unit`] in bytes.
    pub fn unit_len(&self) -> usize {
        self.salt.len() + self.passphrase.len()
    }

    /// Returns the salt followed by the passphrase: the sequence that a pass hashes repeatedly.
    pub fn unit(&self) -> Zeroizing<Vec<u8>> {
        let mut unit = Zeroizing::new(Vec::with_capacity(self.unit_len()));
        unit.extend_from_slice(self.salt);
        unit.extend_from_slice(self.passphrase);
        unit
    }

    /// Returns the number of passes, each of which contributes one digest to the key.
    pub fn passes(&self) -> usize {
        self.key_len.div_ceil(self.hash.digest_len())
    }

    /// Returns the number of bytes that each pass hashes after its zero bytes: the count, but at least one whole
    /// [`Self::unit`], and 0 if the unit is empty.
    pub fn bytes_per_pass(&self) -> u64 {
        match self.unit_len() as u64 {
            0 => 0,
            unit => unit.max(self.count.into()),
        }
    }

    fn hasher(&self, zeros: usize) -> Box<dyn Hasher> {
        match self.hash {
            Hash::Md5 => started::<md5::Md5>(zeros),
            Hash::Sha1 => started::<sha1::Sha1>(zeros),
            Hash::Ripemd160 => started::<ripemd::Ripemd160>(zeros),
            Hash::Sha224 => started::<sha2::Sha224>(zeros),
            Hash::Sha256 => started::<sha2::Sha256>(zeros),
            Hash::Sha384 => started::<sha2::Sha384>(zeros),
            Hash::Sha512 => started::<sha2::Sha512>(zeros),
            Hash::Sha3_256 => started::<sha3::Sha3_256>(zeros),
            Hash::Sha3_512 => started::<sha3::Sha3_512>(zeros),
        }
    }

    /// Returns whole repetitions of [`Self::unit`], about [`PIECE_BYTES`] in total, or a single one if the unit is longer.
    /// Consecutive pieces therefore continue the sequence to hash.
    pub fn piece(&self) -> Piece {
        let unit = self.unit_len();
        let wanted = usize::try_from(self.bytes_per_pass()).unwrap_or(PIECE_BYTES);
        let repeats = (wanted.min(PIECE_BYTES) / unit.max(1)).max(1) + 1;
        let repeats = if unit > PIECE_BYTES { 1 } else { repeats };
        Arc::new(Zeroizing::new(self.unit().repeat(repeats)))
    }
}

/// Repetitions of [`S2k::unit`], shared by the passes of a derivation and wiped with the last of them.
pub type Piece = Arc<Zeroizing<Vec<u8>>>;

/// One pass of a derivation in progress.
pub struct Pass {
    hasher: Box<dyn Hasher>,
    piece: Piece,
    /// Offset of the next byte in the piece.
    at: usize,
    left: u64,
}

impl Pass {
    /// Returns the number of bytes still to hash.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Hashes the next `bytes` bytes, rounded up to steps of at most 128 KiB, or all that are left if there are fewer.
    pub fn advance(&mut self, bytes: u64) {
        let stop_at = self.left.saturating_sub(bytes);
        while self.left > stop_at {
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let rest = &self.piece[self.at..];
            // A piece contains at least one whole passphrase, which may have megabytes.
            let take = rest.len().min(2 * PIECE_BYTES).min(left);
            self.hasher.feed(&rest[..take]);
            self.left -= take as u64;
            self.at = (self.at + take) % self.piece.len();
        }
    }

    /// Returns the digest of the bytes hashed so far.
    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        self.hasher.digest()
    }
}

/// Any of the hash algorithms, as a trait object.
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

fn started<D: Digest + Send + 'static>(zeros: usize) -> Box<dyn Hasher> {
    let mut hasher = D::new();
    hasher.update(&[0; KEY_LEN_MAX][..zeros]);
    Box::new(hasher)
}

/// Returns the number of bytes to hash for a coded count (RFC 9580 section 3.7.1.3): 1,024 to 65,011,712.
pub const fn decode_count(coded: u8) -> u32 {
    (16 + (coded & 15) as u32) << ((coded >> 4) + 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coded_counts_decode_to_the_range_of_the_rfc() {
        assert_eq!(decode_count(0), 1024);
        assert_eq!(decode_count(0x60), 65_536);
        assert_eq!(decode_count(0xff), 65_011_712);
    }

    /// A derivation without salt and passphrase once did not terminate.
    #[test]
    fn empty_salt_and_passphrase_hash_no_bytes() {
        let empty = |bytes| {
            S2k::new(Hash::Sha1, b"", b"", bytes, 16).expect("key_len is within the maximum")
        };
        assert_eq!(empty(1000).bytes_hashed(), 0);
        let key = empty(1000)
            .derive(&mut || true)
            .expect("nothing should interrupt the derivation");
        // The SHA-1 digest of an empty input (FIPS 180-4).
        assert_eq!(key[..4], [0xda, 0x39, 0xa3, 0xee]);
        assert_eq!(
            empty(0)
                .derive(&mut || true)
                .expect("nothing should interrupt the derivation"),
            key
        );
    }

    /// A passphrase of megabytes was once hashed in a single step.
    #[test]
    fn long_passphrase_is_hashed_in_small_steps() {
        let passphrase: Vec<u8> = (0..=250).cycle().take(1_000_000).collect();
        let s2k = S2k::new(Hash::Sha256, b"saltsalt", &passphrase, 2_500_000, 32)
            .expect("key_len is within the maximum");
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
