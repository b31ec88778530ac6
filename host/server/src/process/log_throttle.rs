//! Limits how often a message is logged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A limit on the rate of a log message.
pub(crate) struct LogThrottle {
    start: Instant,
    /// Milliseconds from `start` until the next message is allowed.
    next_ms: AtomicU64,
}

impl LogThrottle {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            next_ms: AtomicU64::new(0),
        }
    }

    /// Returns whether a message may be logged now. If so, the next one is allowed after `pause`.
    pub(crate) fn allows(&self, pause: Duration) -> bool {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = ms(self.start.elapsed());
        let next = self.next_ms.load(Ordering::Relaxed);
        let then = now.saturating_add(ms(pause));
        now >= next
            && self
                .next_ms
                .compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_allows_one_message_per_pause() {
        let rare = LogThrottle::new();
        assert!(rare.allows(Duration::from_hours(1)));
        assert!(!rare.allows(Duration::from_hours(1)));
        let often = LogThrottle::new();
        assert!(often.allows(Duration::ZERO) && often.allows(Duration::ZERO));
    }
}
