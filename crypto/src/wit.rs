//! Conversions for those who implement `wit/crypto` with this crate.

/// Implements the conversions between the types that are generated from `wit/crypto` and the types of this crate. The
/// arguments are the generated modules of its interfaces `kdf` and `bulk`.
///
/// The host and `guest/crypto-soft` generate the same types by different means. So the code is shared, not the types.
#[macro_export]
macro_rules! wit_conversions {
    ($kdf:ident, $bulk:ident) => {
        $crate::wit_cases!($kdf::Hash => $crate::Hash {
            Md5 Md5, Sha1 Sha1, Ripemd160 Ripemd160, Sha224 Sha224, Sha256 Sha256, Sha384 Sha384, Sha512 Sha512,
            Sha3256 Sha3_256, Sha3512 Sha3_512
        });
        $crate::wit_cases!($bulk::Cipher => $crate::Cipher {
            Idea Idea, Tdes TripleDes, Cast5 Cast5, Blowfish Blowfish, Aes128 Aes128, Aes192 Aes192, Aes256 Aes256,
            Twofish Twofish, Camellia128 Camellia128, Camellia192 Camellia192, Camellia256 Camellia256
        });
        $crate::wit_cases!($bulk::AeadMode => $crate::AeadMode { Eax Eax, Ocb Ocb, Gcm Gcm });
        $crate::wit_cases!($crate::KdfLimit => $kdf::Limit {
            S2kOctets S2kOctets, Argon2MemoryKib Argon2MemoryKib, Argon2Passes Argon2Passes
        });

        impl From<$crate::OverLimit> for $kdf::Refusal {
            fn from(over: $crate::OverLimit) -> Self {
                Self::OverLimit($kdf::Excess {
                    limit: over.limit.into(),
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

        impl From<$crate::Invalid> for $bulk::Refusal {
            fn from(_: $crate::Invalid) -> Self {
                Self::Invalid
            }
        }
    };
}

/// Implements a conversion between two enums: for each case its name in the one and in the other.
#[doc(hidden)]
#[macro_export]
macro_rules! wit_cases {
    ($from:ty => $to:ty { $($case:ident $same:ident),+ }) => {
        impl From<$from> for $to {
            fn from(case: $from) -> Self {
                match case {
                    $(<$from>::$case => Self::$same),+
                }
            }
        }
    };
}
