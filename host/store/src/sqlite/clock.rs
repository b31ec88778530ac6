//! The store's time: the machine's boot clock, continued over restarts of the machine.
//!
//! After a restart it is unknown for how long the machine was off, and everything that was planned is due.
//! The store's time therefore continues after the last stored plan. No plan has to be rewritten, however
//! many messages wait.
//!
//! This may skip hours that did not pass. The age of waiting messages therefore uses a second time. It
//! continues from the age of the oldest message by the wall clock. If the wall clock was set back in the
//! meantime, the time off does not count, or counts only in part.

use super::queues::latest_due;
use crate::{BootMillis, Now, Result, UnixMillis};
use rusqlite::{Connection, OptionalExtension as _};

/// The differences between the store's times and the machine's boot clock, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Clock {
    /// The difference for plans, leases and slots.
    pub(super) ahead_ms: i64,
    /// The difference for `waits_since`.
    pub(super) waits_ahead_ms: i64,
}

impl Clock {
    /// Returns the stored clock, or a new one if the machine was restarted since. Does not write.
    pub(super) fn read(connection: &Connection, boot_id: &str, now: Now) -> Result<Self> {
        let known = connection.query_row(
            "SELECT boot_id, ahead_ms, waits_ahead_ms FROM meta",
            (),
            |row| {
                let clock = Self {
                    ahead_ms: row.get(1)?,
                    waits_ahead_ms: row.get(2)?,
                };
                Ok((row.get::<_, String>(0)?, clock))
            },
        );
        match known.optional()? {
            None => Ok(Self::default()),
            Some((known_id, clock)) if known_id == boot_id => Ok(clock),
            Some((_, clock)) => clock.restarted(connection, now),
        }
    }

    fn restarted(self, connection: &Connection, now: Now) -> Result<Self> {
        let after_plans = latest_plan(connection)? + 1 - now.boot.0;
        // If no message waits, any value is correct.
        let waits_at = resumed_at(connection, now.wall)?.unwrap_or(now.boot.0);
        Ok(Self {
            ahead_ms: after_plans.max(self.ahead_ms),
            waits_ahead_ms: waits_at - now.boot.0,
        })
    }

    /// Converts the time to the store's time.
    pub(super) fn now(self, now: Now) -> Now {
        Now {
            boot: BootMillis(now.boot.0 + self.ahead_ms),
            ..now
        }
    }

    /// Converts a time of the store to the machine's boot clock.
    pub(super) fn to_machine(self, at: BootMillis) -> BootMillis {
        BootMillis(at.0 - self.ahead_ms)
    }

    /// Converts the store's time to the time of `waits_since`.
    pub(super) fn waits_at(self, now: Now) -> i64 {
        now.boot.0 - self.ahead_ms + self.waits_ahead_ms
    }
}

/// Returns the latest time that is stored in any plan, lease or slot. Each part of the query uses an index.
/// It skips `due_at` of leased rows, because these were due before their leases end.
fn latest_plan(connection: &Connection) -> Result<i64> {
    let latest = connection.query_row(
        "SELECT max(
           ifnull((SELECT held_until FROM meta), 0),
           ifnull((SELECT max(free_at) FROM slots), 0),
           ?1,
           ifnull((SELECT leased_until FROM messages INDEXED BY messages_leased
             WHERE leased_until IS NOT NULL ORDER BY leased_until DESC LIMIT 1), 0),
           ifnull((SELECT due_at FROM notifications INDEXED BY notifications_planned
             WHERE due_at IS NOT NULL ORDER BY due_at DESC LIMIT 1), 0),
           ifnull((SELECT leased_until FROM notifications INDEXED BY notifications_leased
             WHERE leased_until IS NOT NULL ORDER BY leased_until DESC LIMIT 1), 0))",
        [latest_due(connection)?],
        |row| row.get(0),
    );
    Ok(latest?)
}

/// Returns the current time of `waits_since`, which is never before a stored one. Returns `None` if no
/// message waits.
fn resumed_at(connection: &Connection, wall: UnixMillis) -> Result<Option<i64>> {
    let waiting = |order| -> Result<Option<(i64, i64)>> {
        let first = format!(
            "SELECT waits_since, created_at FROM messages INDEXED BY messages_waiting
             WHERE state = 'pending' ORDER BY waits_since {order} LIMIT 1"
        );
        let first = connection.query_row(&first, (), |row| Ok((row.get(0)?, row.get(1)?)));
        Ok(first.optional()?)
    };
    let both = waiting("ASC")?.zip(waiting("DESC")?);
    Ok(both.map(|((oldest, created_at), (youngest, _))| {
        let age_ms = wall.0.saturating_sub(created_at).max(0);
        oldest.saturating_add(age_ms).max(youngest)
    }))
}
