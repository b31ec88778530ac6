//! What an earlier process left behind.

use super::clock::Clock;
use super::notifications::take_back;
use super::slots::slots;
use crate::{Now, Quota, Result};
use rusqlite::{Connection, OptionalExtension as _, params};

/// What the file says of the process that had it before.
struct Before {
    boot_id: String,
    held_until: i64,
    window_ms: i64,
    margin_ms: i64,
}

/// Tries that an earlier process left are void: their calls may have been made or not. What is known
/// of its calls is kept; where it cannot be, no call is made for as long as an earlier one may count:
/// after a start of the machine, with a longer window, and with a new file, which may stand in for one
/// that was lost.
pub(super) fn recover(
    transaction: &Connection,
    boot_id: &str,
    quota: Quota,
    now: Now,
) -> Result<Clock> {
    let clock = Clock::read(transaction, boot_id, now)?;
    let now = clock.now(now);
    take_back(transaction, i64::MAX)?;
    let hold = now.boot.0 + quota.spared_ms();
    let held_until = match before(transaction)? {
        Some(before) if before.boot_id == boot_id => {
            let longer_ms = (i64::from(quota.window_ms) - before.window_ms).max(0)
                + (i64::from(quota.margin_ms) - before.margin_ms).max(0);
            transaction.execute("UPDATE slots SET free_at = free_at + ?1", [longer_ms])?;
            if longer_ms == 0 {
                before.held_until
            } else {
                before.held_until.max(hold)
            }
        }
        // How long the machine was off, nobody knows.
        _ => {
            transaction.execute("UPDATE slots SET free_at = ?1", [hold])?;
            hold
        }
    };
    // What is counted, and when hosts are due, was written in one with what it says, and is right.
    transaction.execute(
        "INSERT INTO meta
           (only_row, boot_id, ahead_ms, waits_ahead_ms, held_until, window_ms, margin_ms, backlog,
            notifications_pending, notifications_parked, leases)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, 0)
         ON CONFLICT DO UPDATE SET
           boot_id = excluded.boot_id, ahead_ms = excluded.ahead_ms,
           waits_ahead_ms = excluded.waits_ahead_ms, held_until = excluded.held_until,
           window_ms = excluded.window_ms, margin_ms = excluded.margin_ms",
        params![
            boot_id,
            clock.ahead_ms,
            clock.waits_ahead_ms,
            held_until,
            quota.window_ms,
            quota.margin_ms
        ],
    )?;
    count_slots(transaction, quota, now)?;
    Ok(clock)
}

fn before(transaction: &Connection) -> Result<Option<Before>> {
    let before = transaction.query_row(
        "SELECT boot_id, held_until, window_ms, margin_ms FROM meta",
        (),
        |row| {
            Ok(Before {
                boot_id: row.get(0)?,
                held_until: row.get(1)?,
                window_ms: row.get(2)?,
                margin_ms: row.get(3)?,
            })
        },
    );
    Ok(before.optional()?)
}

/// As many slots as calls are allowed. Slots too many remain while they are taken: their calls count,
/// and if more are allowed again they still do.
fn count_slots(transaction: &Connection, quota: Quota, now: Now) -> Result<()> {
    let there = u32::try_from(slots(transaction)?.len()).unwrap_or(u32::MAX);
    transaction.execute(
        "DELETE FROM slots WHERE number IN
           (SELECT number FROM slots WHERE free_at <= ?1 ORDER BY free_at LIMIT ?2)",
        params![now.boot.0, there.saturating_sub(quota.calls)],
    )?;
    for _missing in there..quota.calls {
        transaction.execute(
            "INSERT INTO slots (number, free_at)
             VALUES ((SELECT ifnull(max(number) + 1, 0) FROM slots), ?1)",
            [now.boot.0],
        )?;
    }
    Ok(())
}
