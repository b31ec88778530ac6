//! Instances that end without a result.

/// The reason why an instance ended without a result. The texts are for the log, not for callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The time limit was reached.
    #[error("the time limit was reached")]
    Deadline,
    /// The instance needed more memory than its limit.
    #[error("the memory limit was reached")]
    Memory,
    /// The host cancelled the call.
    #[error("the host cancelled the call")]
    Cancelled,
    /// Too much key derivation of other instances was pending. The same call may succeed later.
    #[error("too much key derivation is pending")]
    KeysOverloaded,
    /// The caller may not use more key derivation now ([`KdfCharge`](crate::KdfCharge)). The same call may succeed later.
    #[error("the caller has used up its key derivation")]
    KeysCharged,
    /// The instance trapped or broke its contract, or there was no space for it. The text comes from the
    /// engine and does not quote the input.
    #[error("trap: {0}")]
    Trap(String),
}
