//! The store's time: the machine's clock, which begins anew with each start of the machine, running
//! on over them.
//!
//! After a start nobody knows how long the machine was off, and what was planned is due: the store's
//! time goes on after the last plan that is stored. So no plan has to be written anew, however many
//! wait.
//!
//! That may leap over hours for which nobody waited, so that how long messages wait is told by a time of
//! its own. It goes on where the wall clock says how old the oldest of them is. Where that was set back
//! meanwhile, the time off does not count, or only in part.

use crate::{BootMillis, Now, Result, UnixMillis};
use rusqlite::{Connection, OptionalExtension as _};

/// How far the store's times are ahead of the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Clock {
    /// That of plans, leases and slots.
    pub(super) ahead_ms: i64,
    /// That of `waits_since`.
    pub(super) waits_ahead_ms: i64,
}

impl Clock {
    /// Of this start of the machine: as the file has it, or as it is to be where `boot_id` is another
    /// one. Writes nothing.
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
        // Where nothing waits it may go on from anywhere.
        let waits_at = resumed_at(connection, now.wall)?.unwrap_or(now.boot.0);
        Ok(Self {
            ahead_ms: after_plans.max(self.ahead_ms),
            waits_ahead_ms: waits_at - now.boot.0,
        })
    }

    /// The store's time.
    pub(super) fn now(self, now: Now) -> Now {
        Now {
            boot: BootMillis(now.boot.0 + self.ahead_ms),
            ..now
        }
    }

    /// What the machine's clock shows at a time of the store.
    pub(super) fn of_the_machine(self, at: BootMillis) -> BootMillis {
        BootMillis(at.0 - self.ahead_ms)
    }

    /// The time of `waits_since`, by the store's.
    pub(super) fn waits_at(self, now: Now) -> i64 {
        now.boot.0 - self.ahead_ms + self.waits_ahead_ms
    }
}

/// The last time of the store that is written anywhere; each is found by an index. What is leased was
/// due before its lease ends.
fn latest_plan(connection: &Connection) -> Result<i64> {
    let latest = connection.query_row(
        "SELECT max(
           ifnull((SELECT held_until FROM meta), 0),
           ifnull((SELECT max(free_at) FROM slots), 0),
           ifnull((SELECT due_at FROM messages INDEXED BY messages_fresh
             WHERE state = 'pending' AND leased_until IS NULL AND tries = 0
             ORDER BY due_at DESC LIMIT 1), 0),
           ifnull((SELECT due_at FROM messages INDEXED BY messages_tried
             WHERE state = 'pending' AND leased_until IS NULL AND tries > 0
             ORDER BY due_at DESC LIMIT 1), 0),
           ifnull((SELECT leased_until FROM messages INDEXED BY messages_leased
             WHERE leased_until IS NOT NULL ORDER BY leased_until DESC LIMIT 1), 0),
           ifnull((SELECT due_at FROM notifications INDEXED BY notifications_planned
             WHERE due_at IS NOT NULL ORDER BY due_at DESC LIMIT 1), 0),
           ifnull((SELECT leased_until FROM notifications INDEXED BY notifications_leased
             WHERE leased_until IS NOT NULL ORDER BY leased_until DESC LIMIT 1), 0))",
        (),
        |row| row.get(0),
    );
    Ok(latest?)
}

/// What time of `waits_since` it is: none where nothing waits, and never before any that is stored.
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
