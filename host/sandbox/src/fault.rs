//! Why an instance ended without an answer.

/// Why an instance ended without an answer. The texts are for the log; callers are told what they can change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The time limit was reached.
    #[error("the time was over")]
    Deadline,
    /// The instance asked for more memory than it may have.
    #[error("the memory limit was reached")]
    Memory,
    /// The host did not need the answer any more.
    #[error("cancelled by the host")]
    Cancelled,
    /// Too much key derivation of other instances was pending. The same call may succeed later.
    #[error("too much key derivation waits")]
    KeysOverloaded,
    /// A trap, a broken contract, or no space for the instance. The text comes from the engine and contains nothing of
    /// the input.
    #[error("trap: {0}")]
    Trap(String),
}
