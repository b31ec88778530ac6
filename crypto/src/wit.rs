//! Conversions for those who implement `wit/crypto` with this crate.

/// Implements the conversions between the types that are generated from `wit/crypto` and the types of this crate. The
/// arguments are the generated modules of its interfaces `kdf` and `bulk`.
///
/// The host and `guest/crypto-soft` generate the same types by different means. So the code is shared, not the types.
#[macro_export]
macro_rules! wit_conversions {
    ($kdf:ident, $bulk:ident) => {
        impl From<$kdf::Hash> for $crate::Hash {
            fn from(hash: $kdf::Hash) -> Self {
                match hash {
                    $kdf::Hash::Md5 => Self::Md5,
                    $kdf::Hash::Sha1 => Self::Sha1,
                    $kdf::Hash::Ripemd160 => Self::Ripemd160,
                    $kdf::Hash::Sha224 => Self::Sha224,
                    $kdf::Hash::Sha256 => Self::Sha256,
                    $kdf::Hash::Sha384 => Self::Sha384,
                    $kdf::Hash::Sha512 => Self::Sha512,
                    $kdf::Hash::Sha3256 => Self::Sha3_256,
                    $kdf::Hash::Sha3512 => Self::Sha3_512,
                }
            }
        }

        impl From<$crate::OverLimit> for $kdf::Refusal {
            fn from(over: $crate::OverLimit) -> Self {
                Self::OverLimit($kdf::Excess {
                    limit: match over.limit {
                        $crate::KdfLimit::S2kOctets => $kdf::Limit::S2kOctets,
                        $crate::KdfLimit::Argon2MemoryKib => $kdf::Limit::Argon2MemoryKib,
                        $crate::KdfLimit::Argon2Passes => $kdf::Limit::Argon2Passes,
                    },
                    asked: over.asked,
                    allowed: over.allowed,
                })
            }
        }

        impl From<$crate::Invalid> for $kdf::Refusal {
            fn from(_: $crate::Invalid) -> Self {
                Self::Invalid
            }
        }

        impl From<$bulk::Cipher> for $crate::Cipher {
            fn from(cipher: $bulk::Cipher) -> Self {
                match cipher {
                    $bulk::Cipher::Idea => Self::Idea,
                    $bulk::Cipher::Tdes => Self::TripleDes,
                    $bulk::Cipher::Cast5 => Self::Cast5,
                    $bulk::Cipher::Blowfish => Self::Blowfish,
                    $bulk::Cipher::Aes128 => Self::Aes128,
                    $bulk::Cipher::Aes192 => Self::Aes192,
                    $bulk::Cipher::Aes256 => Self::Aes256,
                    $bulk::Cipher::Twofish => Self::Twofish,
                    $bulk::Cipher::Camellia128 => Self::Camellia128,
                    $bulk::Cipher::Camellia192 => Self::Camellia192,
                    $bulk::Cipher::Camellia256 => Self::Camellia256,
                }
            }
        }

        impl From<$bulk::AeadMode> for $crate::AeadMode {
            fn from(mode: $bulk::AeadMode) -> Self {
                match mode {
                    $bulk::AeadMode::Eax => Self::Eax,
                    $bulk::AeadMode::Ocb => Self::Ocb,
                    $bulk::AeadMode::Gcm => Self::Gcm,
                }
            }
        }

        impl From<$crate::Invalid> for $bulk::Refusal {
            fn from(_: $crate::Invalid) -> Self {
                Self::Invalid
            }
        }
    };
}
