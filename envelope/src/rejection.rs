//! The reasons of a decrypt component to reject a message.

use crate::{Evidence, Excess, Problem};

/// A message was rejected, and would be rejected again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageRejection {
    /// No OpenPGP message was found. The text is of this kind instead.
    #[error("no OpenPGP message was found: {0:?}")]
    NotOpenpgp(Evidence),
    /// The message was cut off or damaged. The text says where, for the caller.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The message uses something that is not supported. The text names it, for the caller.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// Wrong passphrase or altered message.
    #[error("wrong passphrase or altered message")]
    Undecryptable,
    /// The message needs more than a limit allows.
    #[error("the message exceeds a limit: {0:?}")]
    TooCostly(Excess),
}

impl From<MessageRejection> for Problem {
    fn from(rejection: MessageRejection) -> Self {
        match rejection {
            MessageRejection::NotOpenpgp(evidence) => Self::not_openpgp(evidence),
            MessageRejection::Damaged(place) => Self::damaged_message(&place),
            MessageRejection::Unsupported(why) => Self::unsupported_message(&why),
            MessageRejection::Undecryptable => Self::undecryptable(),
            MessageRejection::TooCostly(excess) => Self::over_limit(excess),
        }
    }
}

/// Implements the conversion of the rejections of the generated module of the interface `decryptor`, which must be in
/// scope. A variant that is missing on one side is a compile error.
#[macro_export]
macro_rules! wit_conversions {
    ($decryptor:ident) => {
        impl From<$decryptor::Rejection> for $crate::MessageRejection {
            fn from(rejection: $decryptor::Rejection) -> Self {
                match rejection {
                    $decryptor::Rejection::NotOpenpgp(evidence) => Self::NotOpenpgp($crate::wit_conversions!(
                        @same evidence, $decryptor, Evidence { Nothing Binary Pem Signature Key }
                    )),
                    $decryptor::Rejection::Damaged(place) => Self::Damaged(place),
                    $decryptor::Rejection::Unsupported(reason) => Self::Unsupported(reason),
                    $decryptor::Rejection::Undecryptable => Self::Undecryptable,
                    $decryptor::Rejection::TooCostly(excess) => Self::TooCostly($crate::Excess {
                        limit: $crate::wit_conversions!(
                            @same excess.limit, $decryptor, Limit {
                                PlaintextBytes CompressionLayers CompressionRatio SessionKeyPackets ArmorHeaderBytes
                                S2kBytes Argon2MemoryKib Argon2Passes
                            }
                        ),
                        requested: excess.requested,
                        allowed: excess.allowed,
                    }),
                }
            }
        }
    };
    (@same $value:expr, $decryptor:ident, $name:ident { $($variant:ident)+ }) => {
        match $value {
            $($decryptor::$name::$variant => $crate::$name::$variant,)+
        }
    };
}
