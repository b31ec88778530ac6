//! The reasons why the relay does not do what a caller wants.

use bulkhead_store::StoreError;

/// The reason why a caller gets nothing of what was asked. The texts are for the caller; what is for the
/// log is in the source.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Too many messages wait. Nothing was stored.
    #[error("too many messages wait to be signed")]
    BacklogFull {
        /// Milliseconds until there may be room.
        after_ms: u64,
    },
    /// Too many requests wait for this message. Nothing was stored.
    #[error("too many requests wait for this message")]
    CallersFull {
        /// Milliseconds until the message may be signed.
        after_ms: u64,
    },
    /// The store failed, or did not answer in time. The request may be stored all the same; a repetition
    /// does no harm.
    #[error("the store did not answer in time, or failed")]
    Store(#[from] StoreError),
    /// No call can be made for this now, or the call had no result.
    #[error("the upstream cannot be called now, or gave no answer")]
    Upstream {
        /// Milliseconds until a repetition may succeed.
        after_ms: u64,
    },
}
