//! Detects jumps of the database's clock.
//!
//! The store's time comes from a database. Its clock may be set, and its machine may be replaced. Each
//! replica therefore compares it with the boot clock of its own machine, which cannot be set. The
//! difference between the two clocks is constant except for a slow drift. This module does no I/O.

use crate::{BootMillis, Quota};

/// Milliseconds in which two clocks may drift apart by 1 microsecond. This is a rate of 500 ppm, the
/// maximum rate at which `adjtime` corrects a clock.
const DRIFT_MS_PER_US: i64 = 2;

/// Minimum time between two updates for the drift, in milliseconds. With shorter steps, rounding would add
/// up.
const FOLLOW_MS: i64 = 1000;

/// Maximum difference that counts as a delay of the network, in milliseconds.
const TOLERANCE_MS_MAX: i64 = 100;
/// Minimum of the difference that counts as a delay, used if the margin of the quota is small.
const TOLERANCE_MS_MIN: i64 = 20;

/// A reading of the store's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// This machine's clock before the query.
    pub(crate) before: BootMillis,
    /// The store's time, in milliseconds.
    pub(crate) store_ms: i64,
    /// This machine's clock after the response.
    pub(crate) after: BootMillis,
    /// Number of corrections of the store's time before the reading.
    pub(crate) epoch: i64,
}

/// The difference between the store's time and this machine's clock, in microseconds. It is a range,
/// because the database read its clock at an unknown time between query and response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) low_us: i64,
    pub(crate) high_us: i64,
}

/// A known difference, with which later readings are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) offset: Offset,
    /// The time of the reading, by this machine's clock.
    pub(crate) at: BootMillis,
    /// Number of corrections before the reading.
    pub(crate) epoch: i64,
}

/// The result of comparing a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The store's time has not jumped.
    Fine,
    /// The store's time has jumped forward, or back if negative.
    Jumped {
        /// Milliseconds.
        by_ms: i64,
    },
    /// The response took too long, or a newer reading has been compared already.
    Unsure,
}

/// Compares readings with earlier ones.
///
/// A reading without a comparable earlier one is trusted, but no call may be made until all earlier calls
/// have left the window: see [`ClockMonitor::wait_ms`].
#[derive(Debug)]
pub(crate) struct ClockMonitor {
    claim_ms: i64,
    tolerance_us: i64,
    width_us_max: i64,
    reference: Option<Reference>,
    wait_until: Option<BootMillis>,
}

impl ClockMonitor {
    /// Creates a monitor without a reference.
    pub(crate) fn new(quota: Quota) -> Self {
        let margin_ms = i64::from(quota.margin_ms);
        let tolerance_ms = (margin_ms / 4).clamp(TOLERANCE_MS_MIN, TOLERANCE_MS_MAX);
        Self {
            claim_ms: quota.claim_ms(),
            tolerance_us: tolerance_ms * 1000,
            width_us_max: (margin_ms / 2).max(TOLERANCE_MS_MIN) * 1000,
            reference: None,
            wait_until: None,
        }
    }

    /// Returns whether there is no reference yet.
    pub(crate) fn is_new(&self) -> bool {
        self.reference.is_none()
    }

    /// Sets the reference that another process on this machine has stored, if there is none yet.
    pub(crate) fn recall(&mut self, reference: Reference) {
        self.reference.get_or_insert(reference);
    }

    /// Returns the reference for other processes on this machine. Returns `None` while calls must wait.
    pub(crate) fn to_recall(&self, now: BootMillis) -> Option<Reference> {
        self.reference.filter(|_| self.wait_ms(now) == 0)
    }

    /// Returns for how long no call may be made, in milliseconds.
    pub(crate) fn wait_ms(&self, now: BootMillis) -> i64 {
        self.wait_until.map_or(0, |until| (until.0 - now.0).max(0))
    }

    /// Compares a reading with the reference, and updates the reference.
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
            // Another replica may have corrected the store's time. Its correction is adopted, because
            // otherwise two replicas with different clocks would correct each other for ever. Or the last
            // reading is so old that a drift looks like a jump.
            let is_drift = beyond_us.abs() <= self.tolerance_us;
            if !is_drift || drift_us > self.width_us_max / 2 {
                self.begin(seen, reading);
                return Verdict::Fine;
            }
        }
        // Only the drift updates the reference. A difference within the tolerance does not, because many
        // small steps would add up to a jump.
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
        self.wait_until = Some(BootMillis(reading.after.0.saturating_add(self.claim_ms)));
    }
}

impl Reading {
    fn offset(self) -> Offset {
        // Each clock is rounded down to a millisecond.
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

    /// Returns how far this range lies above the other, below if negative, or 0 if they overlap.
    fn beyond_us(self, other: Self) -> i64 {
        if self.low_us > other.high_us {
            self.low_us - other.high_us
        } else if self.high_us < other.low_us {
            self.high_us - other.low_us
        } else {
            0
        }
    }

    /// Returns the intersection of two ranges that overlap.
    fn within(self, other: Self) -> Self {
        Self {
            low_us: self.low_us.max(other.low_us),
            high_us: self.high_us.min(other.high_us),
        }
    }
}

#[cfg(test)]
mod tests;
