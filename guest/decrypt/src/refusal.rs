//! The reasons a message is not opened, as the contract has them.

use crate::bindings::bulkhead::crypto::kdf;
pub(crate) use crate::bindings::exports::bulkhead::decrypt::decryptor::{
    Excess, Limit, Limits, Refusal,
};

/// A message that is understood and refused. `reason` is for the caller.
pub(crate) fn unsupported(reason: impl Into<String>) -> Refusal {
    Refusal::Unsupported(reason.into())
}

/// Over a limit of the component's own.
pub(crate) fn too_costly(limit: Limit, asked: u64, allowed: u64) -> Refusal {
    Refusal::TooCostly(Excess {
        limit,
        asked,
        allowed,
    })
}

impl From<kdf::Refusal> for Refusal {
    fn from(refusal: kdf::Refusal) -> Self {
        match refusal {
            kdf::Refusal::OverLimit(excess) => {
                let limit = match excess.limit {
                    kdf::Limit::S2kOctets => Limit::S2kOctets,
                    kdf::Limit::Argon2MemoryKib => Limit::Argon2MemoryKib,
                    kdf::Limit::Argon2Passes => Limit::Argon2Passes,
                };
                too_costly(limit, excess.asked, excess.allowed)
            }
            kdf::Refusal::Invalid => {
                unsupported("its key derivation has parameters the algorithm does not allow")
            }
        }
    }
}
