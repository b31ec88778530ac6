//! How a caller ends work whose result is not needed any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A flag that cancels work. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Cancels the work, which then ends within milliseconds. More calls change nothing.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// When a derivation is given up.
#[derive(Debug, Clone)]
pub struct Cancellation {
    /// Set by the caller as soon as it does not need the key any more.
    pub flag: CancelFlag,
    /// The time by which the key must be derived.
    pub deadline: Instant,
}

impl Cancellation {
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.flag.is_cancelled() || now >= self.deadline
    }
}
