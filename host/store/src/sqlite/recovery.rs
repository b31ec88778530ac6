//! Recovery of the state that an earlier process left.

use super::clock::Clock;
use super::notifications::expire_leases;
use super::slots::slots;
use crate::{Now, Quota, Result};
use rusqlite::{Connection, OptionalExtension as _, params};

/// The stored settings and clock of the process that had the file before.
struct Before {
    boot_id: String,
    held_until: i64,
    window_ms: i64,
    margin_ms: i64,
}

/// Expires the leases of an earlier process and restores the slots. Returns the store's clock.
///
/// The calls of expired attempts may have been made or not. Known calls continue to take their slots. In
/// three cases earlier calls are not fully known: after a restart of the machine, with a longer window, and
/// with a new file, which may replace a lost one. Then no call is made for as long as an earlier one may
/// count.
pub(super) fn recover(
    transaction: &Connection,
    boot_id: &str,
    quota: Quota,
    now: Now,
) -> Result<Clock> {
    let clock = Clock::read(transaction, boot_id, now)?;
    let now = clock.now(now);
    expire_leases(transaction, i64::MAX)?;
    let hold = now.boot.0 + quota.cooldown_ms();
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
        // It is unknown for how long the machine was off.
        _ => {
            transaction.execute("UPDATE slots SET free_at = ?1", [hold])?;
            hold
        }
    };
    // The counters and the table of hosts are correct, because they change together with their rows.
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

/// Makes the number of slots equal to the number of allowed calls. A surplus slot remains while it is
/// taken, because its call counts, also if the number is increased again.
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
