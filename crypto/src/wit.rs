//! Conversions between the types of this crate and those that binding generators make from `wit/crypto`.

/// Implements the conversions for the generated modules of the interfaces `kdf` and `bulk`, which must be in scope.
///
/// Each component and the host have generated types of their own. The generated enums are matched variant by variant, so
/// that an algorithm that is missing on one side is a compile error.
#[macro_export]
macro_rules! wit_conversions {
    ($kdf:ident, $bulk:ident) => {
        $crate::wit_conversions!(@both $kdf::Hash {
            Md5 = Md5, Sha1 = Sha1, Ripemd160 = Ripemd160, Sha224 = Sha224, Sha256 = Sha256,
            Sha384 = Sha384, Sha512 = Sha512, Sha3256 = Sha3_256, Sha3512 = Sha3_512,
        });
        $crate::wit_conversions!(@both $bulk::Cipher {
            Idea = Idea, Tdes = TripleDes, Cast5 = Cast5, Blowfish = Blowfish, Aes128 = Aes128,
            Aes192 = Aes192, Aes256 = Aes256, Twofish = Twofish, Camellia128 = Camellia128,
            Camellia192 = Camellia192, Camellia256 = Camellia256,
        });
        $crate::wit_conversions!(@both $bulk::AeadMode { Eax = Eax, Ocb = Ocb, Gcm = Gcm, });

        impl From<$crate::OverLimit> for $kdf::Rejection {
            fn from(over: $crate::OverLimit) -> Self {
                Self::OverLimit($kdf::Excess {
                    limit: match over.limit {
                        $crate::KdfLimit::S2kBytes => $kdf::Limit::S2kBytes,
                        $crate::KdfLimit::Argon2MemoryKib => $kdf::Limit::Argon2MemoryKib,
                        $crate::KdfLimit::Argon2Passes => $kdf::Limit::Argon2Passes,
                    },
                    requested: over.requested,
                    allowed: over.allowed,
                })
            }
        }

        impl From<$crate::Invalid> for $kdf::Rejection {
            fn from(_: $crate::Invalid) -> Self {
                Self::Invalid
            }
        }

        impl From<$crate::Invalid> for $bulk::Rejection {
            fn from(_: $crate::Invalid) -> Self {
                Self::Invalid
            }
        }
    };
    (@both $module:ident::$name:ident { $($wit:ident = $variant:ident,)+ }) => {
        impl From<$module::$name> for $crate::$name {
            fn from(value: $module::$name) -> Self {
                match value {
                    $($module::$name::$wit => Self::$variant,)+
                }
            }
        }

        impl From<$crate::$name> for $module::$name {
            fn from(value: $crate::$name) -> Self {
                match value {
                    $($crate::$name::$variant => Self::$wit,)+
                }
            }
        }
    };
}
