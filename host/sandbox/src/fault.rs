//! Why an instance ended without an answer.

/// Why an instance ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The time was over.
    Deadline,
    /// It asked for more memory than it may have.
    Memory,
    /// The host did not want the answer any more.
    Cancelled,
    /// Too much key derivation of others waits; later it may work.
    KeysOverloaded,
    /// A trap, a broken contract, or no room for the instance. The text is for the log; it comes
    /// from the engine and holds nothing of the input.
    Trap(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deadline => f.write_str("the time was over"),
            Self::Memory => f.write_str("the memory limit was reached"),
            Self::Cancelled => f.write_str("cancelled by the host"),
            Self::KeysOverloaded => f.write_str("too much key derivation waits"),
            Self::Trap(reason) => write!(f, "trap: {reason}"),
        }
    }
}

impl std::error::Error for Fault {}
