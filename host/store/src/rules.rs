//! What all stores decide alike, without their SQL.

use crate::{Claim, Quota};

/// A message that has been due for so long is tried before fresh ones: nothing starves.
pub(crate) const AGED_MS: i64 = 5 * 60 * 1000;

/// A receiver's time-out is far below: whoever has not finished by then will not.
pub(crate) const NOTIFICATION_LEASE_MS: i64 = 60 * 1000;

/// For the writing down of what a call came to.
const FINISH_MS: i64 = 10 * 1000;

/// How long a try is waited for before another may be made.
pub(crate) fn attempt_lease_ms(quota: Quota) -> i64 {
    i64::from(quota.call_ms) + i64::from(quota.margin_ms) + FINISH_MS
}

/// Nothing is planned further ahead, so that there is time left after whatever was planned.
const PLAN_MAX_MS: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

/// So many milliseconds after `now`, or a century.
pub(crate) fn after(now: i64, ms: u64) -> i64 {
    now.saturating_add_unsigned(ms.min(PLAN_MAX_MS))
}

/// How long it is from `now` until then.
pub(crate) fn later<T>(at: Option<i64>, now: i64) -> Claim<T> {
    let after_ms = at.map(|at| u64::try_from(at.saturating_sub(now)).unwrap_or(0));
    Claim::RetryAfter { after_ms }
}

/// A message that nobody is trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiting {
    pub(crate) due_at: i64,
    pub(crate) message: i64,
}

/// Which message is next, and from when on, given the first that was never tried and the first that
/// was. A fresh one is always due: its plan may be a little ahead of the clock of who asks now.
pub(crate) fn turn(
    fresh: Option<Waiting>,
    tried: Option<Waiting>,
    now: i64,
) -> Option<(Waiting, i64)> {
    let first = [fresh, tried].into_iter().flatten().min()?;
    let next = if first.due_at <= now.saturating_sub(AGED_MS) {
        first
    } else {
        fresh.unwrap_or(first)
    };
    let at = if fresh.is_some() { now } else { next.due_at };
    Some((next, at))
}

/// What a slot is claimed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Attempt,
    /// A call that is no try.
    Check,
}

impl Purpose {
    /// As it is stored.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Attempt => "try",
            Self::Check => "check",
        }
    }
}

/// A slot as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotRow {
    pub(crate) number: u32,
    pub(crate) free_at: i64,
    /// Its last claim was for a call that is no try.
    pub(crate) check: bool,
}

/// When a call may be made, if none is before: once fewer than `calls` slots are taken. More may be
/// there, taken from a time when more calls were allowed.
pub(crate) fn call_at(slots: &[SlotRow], calls: u32, held_until: i64) -> Option<i64> {
    let free_at = fewer_taken_at(slots.iter(), calls)?;
    Some(free_at.max(held_until))
}

/// The same for a call that is no try; `checks_max` only while messages wait.
pub(crate) fn check_at(
    slots: &[SlotRow],
    calls: u32,
    held_until: i64,
    checks_max: Option<u32>,
) -> Option<i64> {
    let at = call_at(slots, calls, held_until)?;
    let Some(checks_max) = checks_max else {
        return Some(at);
    };
    let checks = slots.iter().filter(|slot| slot.check);
    Some(at.max(fewer_taken_at(checks, checks_max)?))
}

/// The slot to claim: the one that has been free for the longest.
pub(crate) fn freest(slots: &[SlotRow]) -> Option<SlotRow> {
    let order = |slot: &&SlotRow| (slot.free_at, slot.number);
    slots.iter().min_by_key(order).copied()
}

/// From when on fewer than `max` of them are taken.
fn fewer_taken_at<'a>(slots: impl Iterator<Item = &'a SlotRow>, max: u32) -> Option<i64> {
    let mut all: Vec<i64> = slots.map(|slot| slot.free_at).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    let last = usize::try_from(max.checked_sub(1)?).ok()?;
    Some(all.get(last).copied().unwrap_or(i64::MIN))
}
