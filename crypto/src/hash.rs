//! Hash algorithms of RFC 9580 section 9.5.

use sha1::Digest as _;

registry! {
    /// A hash algorithm that an S2K specifier may name.
    Hash {
        Md5 = 1,
        Sha1 = 2,
        Ripemd160 = 3,
        Sha256 = 8,
        Sha384 = 9,
        Sha512 = 10,
        Sha224 = 11,
        Sha3_256 = 12,
        Sha3_512 = 14,
    }
}

impl Hash {
    /// Returns the length of a digest in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 | Self::Ripemd160 => 20,
            Self::Sha224 => 28,
            Self::Sha256 | Self::Sha3_256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 | Self::Sha3_512 => 64,
        }
    }
}

/// Returns the SHA-1 digest of `data` (FIPS 180-4).
pub fn sha1(data: &[u8]) -> [u8; 20] {
    sha1::Sha1::digest(data).into()
}
