//! What an earlier process left behind.

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
pub(super) fn take_over(
    transaction: &Connection,
    boot_id: &str,
    quota: Quota,
    now: Now,
) -> Result<()> {
    for table in ["messages", "notifications"] {
        let orphans =
            format!("UPDATE {table} SET leased_until = NULL WHERE leased_until IS NOT NULL");
        transaction.execute(&orphans, ())?;
    }
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
        // All times are of a clock that is no more.
        _ => {
            transaction.execute("UPDATE slots SET free_at = ?1", [hold])?;
            plan_anew(transaction, now)?;
            hold
        }
    };
    transaction.execute("DELETE FROM hosts", ())?;
    transaction.execute(
        "INSERT INTO hosts (host, due_at)
         SELECT host, min(due_at) FROM notifications
         WHERE state = 'pending' AND leased_until IS NULL GROUP BY host",
        (),
    )?;
    transaction.execute(
        "INSERT OR REPLACE INTO meta
           (only_row, boot_id, held_until, window_ms, margin_ms, backlog,
            notifications_pending, notifications_parked, leases)
         VALUES (1, ?1, ?2, ?3, ?4,
           (SELECT count(*) FROM messages WHERE state = 'pending'),
           (SELECT count(*) FROM notifications WHERE state = 'pending' AND leased_until IS NULL),
           (SELECT count(*) FROM notifications WHERE state = 'parked'),
           ifnull((SELECT leases FROM meta), 0))",
        params![boot_id, held_until, quota.window_ms, quota.margin_ms],
    )?;
    count_slots(transaction, quota, now)
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

/// Everything that waits is due: when it was to be, nobody knows any more.
fn plan_anew(transaction: &Connection, now: Now) -> Result<()> {
    transaction.execute(
        "UPDATE messages SET due_at = ?1, waits_since = ?1 - max(?2 - created_at, 0)
         WHERE state = 'pending'",
        params![now.boot.0, now.wall.0],
    )?;
    transaction.execute(
        "UPDATE notifications SET due_at = ?1 WHERE state = 'pending'",
        [now.boot.0],
    )?;
    Ok(())
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
