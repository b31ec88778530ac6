//! Cancellation of work whose result is no longer needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A flag that cancels work. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Cancels the work, which ends within milliseconds. Repeated calls have no effect.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether the work is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The conditions that end a derivation early.
#[derive(Debug, Clone)]
pub struct Cancellation {
    /// The caller sets this flag when it no longer needs the key.
    pub flag: CancelFlag,
    /// The time by which the key must be derived.
    pub deadline: Instant,
}

impl Cancellation {
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.flag.is_cancelled() || now >= self.deadline
    }
}
