//! Errors of the relay's operations.

use bulkhead_store::StoreError;

/// The relay cannot perform an operation. The texts are for the caller. The details for the log are in
/// `source()`.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The backlog has the maximum number of messages. Nothing was stored.
    #[error("too many messages wait to be signed; try again later")]
    BacklogFull {
        /// Milliseconds until the backlog may have room.
        after_ms: u64,
    },
    /// The maximum number of requests wait for this message. Nothing was stored.
    #[error("too many requests wait for this message; try again later")]
    CallersFull {
        /// Milliseconds until the message may be signed.
        after_ms: u64,
    },
    /// The store failed or did not respond in time. The request may be stored nevertheless. It is safe to
    /// repeat it.
    #[error("the store failed or did not respond in time; try again")]
    Store(#[from] StoreError),
    /// The upstream cannot be called now, or the call had no usable result.
    #[error("the upstream cannot be called now or did not respond; try again later")]
    Upstream {
        /// Milliseconds until a repetition may succeed.
        after_ms: u64,
    },
}
