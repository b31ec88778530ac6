//! The reasons for which a message is not opened, as defined by the contract in `wit/decrypt`.

use crate::bindings::bulkhead::crypto::kdf;
pub(crate) use crate::bindings::exports::bulkhead::decrypt::decryptor::{
    Evidence, Excess, Limit, Limits, Opened, Rejection,
};

/// Rejects a message that is understood but not supported. `reason` is shown to the caller: a clause about the message,
/// such as "it is a key".
pub(crate) fn unsupported(reason: impl Into<String>) -> Rejection {
    Rejection::Unsupported(reason.into())
}

/// Rejects a message that exceeds a limit. `requested` and `allowed` are in the unit of the limit.
pub(crate) fn too_costly(limit: Limit, requested: u64, allowed: u64) -> Rejection {
    Rejection::TooCostly(Excess {
        limit,
        requested,
        allowed,
    })
}

impl From<kdf::Rejection> for Rejection {
    fn from(rejection: kdf::Rejection) -> Self {
        match rejection {
            kdf::Rejection::OverLimit(excess) => {
                let limit = match excess.limit {
                    kdf::Limit::S2kBytes => Limit::S2kBytes,
                    kdf::Limit::Argon2MemoryKib => Limit::Argon2MemoryKib,
                    kdf::Limit::Argon2Passes => Limit::Argon2Passes,
                };
                too_costly(limit, excess.requested, excess.allowed)
            }
            kdf::Rejection::Invalid => {
                unsupported("its key derivation has parameters that the algorithm does not allow")
            }
        }
    }
}

impl From<crate::armor::Evidence> for Evidence {
    fn from(evidence: crate::armor::Evidence) -> Self {
        use crate::armor::Evidence as Found;
        match evidence {
            Found::Nothing => Self::Nothing,
            Found::Binary => Self::Binary,
            Found::Pem => Self::Pem,
            Found::Signature => Self::Signature,
            Found::Key => Self::Key,
        }
    }
}
