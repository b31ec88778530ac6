//! Whether a clock that is not ours can be trusted to have run on.
//!
//! The store's time comes from a database, whose clock may be set, and whose machine may be another
//! one since. So each replica compares it with the clock of its own machine, which does not step: what
//! the one is ahead of the other stays the same, but for a slow drift. There is no I/O in here.

use crate::{BootMillis, Quota};

/// What clocks that are being corrected may drift apart: 500 millionths, half a microsecond in a
/// millisecond, as adjtime does at most.
const DRIFT_MS_PER_US: i64 = 2;

/// The drift is followed in steps, not at each look: rounding would add up.
const FOLLOW_MS: i64 = 1000;

/// What is put down to the network at most, and at least.
const TOLERANCE_MS_MAX: i64 = 100;
const TOLERANCE_MS_MIN: i64 = 20;

/// One look at the store's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Our clock before the question was sent.
    pub(crate) before: BootMillis,
    /// The answer.
    pub(crate) store_ms: i64,
    /// Our clock when it was there.
    pub(crate) after: BootMillis,
    /// How often the store's time was corrected before.
    pub(crate) epoch: i64,
}

/// What the store's time is ahead of our clock, within limits: the answer may have been made at any
/// time between question and arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) low_us: i64,
    pub(crate) high_us: i64,
}

/// What a later reading is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) offset: Offset,
    /// When that was so.
    pub(crate) at: BootMillis,
    /// The correction that it belongs to.
    pub(crate) epoch: i64,
}

/// What a reading shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The store's time has run on.
    Fine,
    /// It has jumped so far ahead; back if negative.
    Jumped {
        /// Milliseconds.
        by_ms: i64,
    },
    /// The answer took too long to tell, or a newer one is there.
    Unsure,
}

/// Compares readings. A reading that nothing before can be compared with is believed, but no call may
/// be made on it until all calls that were made before have left the window: see [`ClockMonitor::wait_ms`].
#[derive(Debug)]
pub(crate) struct ClockMonitor {
    taken_ms: i64,
    tolerance_us: i64,
    width_us_max: i64,
    reference: Option<Reference>,
    wait_until: Option<BootMillis>,
}

impl ClockMonitor {
    /// Knows nothing yet.
    pub(crate) fn new(quota: Quota) -> Self {
        let margin_ms = i64::from(quota.margin_ms);
        let tolerance_ms = (margin_ms / 4).clamp(TOLERANCE_MS_MIN, TOLERANCE_MS_MAX);
        Self {
            taken_ms: quota.taken_ms(),
            tolerance_us: tolerance_ms * 1000,
            width_us_max: (margin_ms / 2).max(TOLERANCE_MS_MIN) * 1000,
            reference: None,
            wait_until: None,
        }
    }

    /// Whether there is nothing to compare with.
    pub(crate) fn is_new(&self) -> bool {
        self.reference.is_none()
    }

    /// What another process on this machine found out, since its start.
    pub(crate) fn recall(&mut self, reference: Reference) {
        self.reference.get_or_insert(reference);
    }

    /// What another process on this machine may go on with; none before it is certain enough.
    pub(crate) fn to_recall(&self, now: BootMillis) -> Option<Reference> {
        self.reference.filter(|_| self.wait_ms(now) == 0)
    }

    /// How long no call may be made yet.
    pub(crate) fn wait_ms(&self, now: BootMillis) -> i64 {
        self.wait_until.map_or(0, |until| (until.0 - now.0).max(0))
    }

    /// Compares a reading with those before.
    pub(crate) fn compare(&mut self, reading: Reading) -> Verdict {
        let seen = reading.offset();
        if seen.width_us() > self.width_us_max {
            return Verdict::Unsure;
        }
        let Some(known) = self.reference else {
            self.begin(seen, reading);
            return Verdict::Fine;
        };
        if reading.epoch < known.epoch && reading.before <= known.at {
            return Verdict::Unsure;
        }
        let passed_ms = (reading.after.0 - known.at.0).max(0);
        let drift_us = passed_ms / DRIFT_MS_PER_US;
        let expected = known.offset.wider(drift_us);
        let beyond_us = seen.beyond_us(expected);
        if seen.beyond_us(known.offset).abs() > self.tolerance_us {
            if beyond_us.abs() > self.tolerance_us && reading.epoch == known.epoch {
                let by_us = seen.middle_us() - expected.middle_us();
                return Verdict::Jumped {
                    by_ms: by_us.div_euclid(1000),
                };
            }
            // It may have been corrected by what another replica saw, and it is theirs that counts
            // now: if each insisted, two whose machines differ would correct each other for ever.
            // Or the last reading is so old that a drift looks like a jump.
            let is_drift = beyond_us.abs() <= self.tolerance_us;
            if !is_drift || drift_us > self.width_us_max / 2 {
                self.begin(seen, reading);
                return Verdict::Fine;
            }
        }
        // Only the drift is followed. What lies within the tolerance beyond it is not, or many small
        // steps could lead anywhere.
        let follows = beyond_us == 0 && passed_ms >= FOLLOW_MS;
        let (offset, at) = if follows {
            (expected.within(seen), reading.after)
        } else {
            (known.offset, known.at)
        };
        self.reference = Some(Reference {
            offset,
            at,
            epoch: reading.epoch,
        });
        Verdict::Fine
    }

    fn begin(&mut self, offset: Offset, reading: Reading) {
        self.reference = Some(Reference {
            offset,
            at: reading.after,
            epoch: reading.epoch,
        });
        self.wait_until = Some(BootMillis(reading.after.0.saturating_add(self.taken_ms)));
    }
}

impl Reading {
    fn offset(self) -> Offset {
        // All clocks round down.
        Offset {
            low_us: (self.store_ms - self.after.0 - 1).saturating_mul(1000),
            high_us: (self.store_ms - self.before.0 + 1).saturating_mul(1000),
        }
    }
}

impl Offset {
    fn width_us(self) -> i64 {
        self.high_us.saturating_sub(self.low_us)
    }

    fn middle_us(self) -> i64 {
        self.low_us + self.width_us() / 2
    }

    fn wider(self, by_us: i64) -> Self {
        Self {
            low_us: self.low_us - by_us,
            high_us: self.high_us + by_us,
        }
    }

    /// How far this lies above the other, below if negative; 0 where they meet.
    fn beyond_us(self, other: Self) -> i64 {
        if self.low_us > other.high_us {
            self.low_us - other.high_us
        } else if self.high_us < other.low_us {
            self.high_us - other.low_us
        } else {
            0
        }
    }

    /// What both allow, where they meet.
    fn within(self, other: Self) -> Self {
        Self {
            low_us: self.low_us.max(other.low_us),
            high_us: self.high_us.min(other.high_us),
        }
    }
}

#[cfg(test)]
mod tests;
