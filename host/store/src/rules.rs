//! Decisions that are the same in all stores. This module does no I/O.

use crate::{Claim, Quota, Redelivery};

/// A message that has been due for this many milliseconds comes before fresh ones, so that no message
/// starves.
pub(crate) const AGED_MS: i64 = 5 * 60 * 1000;

/// Duration of a delivery's lease, in milliseconds. The timeout for receivers is far shorter.
pub(crate) const NOTIFICATION_LEASE_MS: i64 = 60 * 1000;

/// Minimum time between two redeliveries of a notification, in milliseconds.
const REDELIVERY_MS: i64 = 1000;

/// Time to store the outcome of a call, in milliseconds.
const FINISH_MS: i64 = 10 * 1000;

/// Returns how long the lease of an attempt lasts, in milliseconds.
pub(crate) fn attempt_lease_ms(quota: Quota) -> i64 {
    i64::from(quota.call_ms) + i64::from(quota.margin_ms) + FINISH_MS
}

/// Maximum time from now to a planned time (100 years), so that sums with planned times do not overflow.
const PLAN_MAX_MS: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

/// Returns the time `ms` milliseconds after `now`, or 100 years after `now` if that is earlier.
pub(crate) fn after(now: i64, ms: u64) -> i64 {
    now.saturating_add_unsigned(ms.min(PLAN_MAX_MS))
}

/// Returns [`Claim::RetryAfter`] with the time from `now` until `at`. The time is 0 if `at` has passed.
pub(crate) fn retry_after<T>(at: Option<i64>, now: i64) -> Claim<T> {
    let after_ms = at.map(|at| u64::try_from(at.saturating_sub(now)).unwrap_or(0));
    Claim::RetryAfter { after_ms }
}

/// Returns [`Redelivery::TooSoon`] if a notification became due or was first attempted less than
/// [`REDELIVERY_MS`] ago. Each event has a time and the current time of the same clock. An event in the
/// future does not count: it is planned, or the clock was set back.
pub(crate) fn redelivery_too_soon(events: [(Option<i64>, i64); 2]) -> Option<Redelivery> {
    let ages = events
        .into_iter()
        .filter_map(|(at, now)| now.checked_sub(at?));
    let youngest = ages.filter(|age| (0..REDELIVERY_MS).contains(age)).min()?;
    let after_ms = u64::try_from(REDELIVERY_MS - youngest).unwrap_or(0);
    Some(Redelivery::TooSoon { after_ms })
}

/// A pending message without an active attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiting {
    pub(crate) due_at: i64,
    pub(crate) message: i64,
}

/// Returns the next message and the time from which it can be claimed.
///
/// `fresh` is the first message without an attempt, `tried` is the first one with an attempt. A fresh
/// message is always due, because its planned time may be slightly ahead of the clock of another replica.
pub(crate) fn next_message(
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

/// The next messages of one caller: the first without an attempt, and the first with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallerQueue {
    /// The caller, as in the column `owner`.
    pub(crate) owner: String,
    pub(crate) fresh: Option<Waiting>,
    pub(crate) tried: Option<Waiting>,
}

/// A caller whose message is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn<'a> {
    pub(crate) owner: &'a str,
    pub(crate) message: i64,
    /// The time from which the message can be claimed, now or later.
    pub(crate) at: i64,
}

/// Returns the queue that is next, or `None` if no message waits.
///
/// The queues take turns in the order of their owners' names. `last_owner` is the owner whose queue had the last
/// turn. A queue without a due message has no turn. Between the arrival of a caller's message and the caller's
/// turn, every other queue therefore has at most one turn.
pub(crate) fn next_turn<'a>(
    queues: &'a [CallerQueue],
    last_owner: &str,
    now: i64,
) -> Option<Turn<'a>> {
    let turns = queues.iter().filter_map(|queue| {
        let (next, at) = next_message(queue.fresh, queue.tried, now)?;
        Some(Turn {
            owner: &queue.owner,
            message: next.message,
            at: at.max(now),
        })
    });
    turns.min_by_key(|turn| (turn.at, turn.owner <= last_owner, turn.owner))
}

/// The kind of call that a slot is claimed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Attempt,
    /// A call that is not an attempt.
    Check,
}

impl Purpose {
    /// Returns the stored name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Attempt => "try",
            Self::Check => "check",
        }
    }
}

/// A stored slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotRow {
    pub(crate) number: u32,
    pub(crate) free_at: i64,
    /// The last claim was for a check.
    pub(crate) check: bool,
}

/// Returns the time from which a call may be made, if none is made before. It is the time from which fewer
/// than `calls` slots are taken.
///
/// There are more slots than `calls` if more calls were allowed before.
pub(crate) fn call_at(slots: &[SlotRow], calls: u32, held_until: i64) -> Option<i64> {
    let free_at = fewer_taken_at(slots.iter(), calls)?;
    Some(free_at.max(held_until))
}

/// Returns the time from which a check may be made. In addition to the rules of [`call_at`], checks take at
/// most `checks_max` slots, if it is not `None`.
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

/// Returns the slot to claim: the one that has been free for the longest time.
pub(crate) fn freest(slots: &[SlotRow]) -> Option<SlotRow> {
    let order = |slot: &&SlotRow| (slot.free_at, slot.number);
    slots.iter().min_by_key(order).copied()
}

/// Returns the time from which fewer than `max` of the slots are taken, or `None` if `max` is 0.
fn fewer_taken_at<'a>(slots: impl Iterator<Item = &'a SlotRow>, max: u32) -> Option<i64> {
    let mut all: Vec<i64> = slots.map(|slot| slot.free_at).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    let last = usize::try_from(max.checked_sub(1)?).ok()?;
    Some(all.get(last).copied().unwrap_or(i64::MIN))
}
