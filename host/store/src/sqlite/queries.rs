//! Queries for callers, operators and metrics.

use super::database::Database;
use super::requests::{request_id, state};
use super::slots::slots;
use crate::{
    NotificationState, NotificationView, Now, RequestFilter, RequestId, RequestView, Result,
    StoreStats, UnixMillis,
};
use rusqlite::{OptionalExtension as _, Row, params};

/// A query of all columns of a [`RequestView`], for a request `r` and its message `m`.
macro_rules! view {
    ($from:literal) => {
        concat!(
            "SELECT r.id, m.state, m.signature, m.error, m.text, m.tries, r.created_at,
               r.callback IS NOT NULL AND r.state = 'pending' AS awaited,
               n.state AS notified, n.tries AS deliveries, n.last_error, n.due_at ",
            $from
        )
    };
}

// The queries name their indexes, so that a short list never becomes a scan of the whole table.
const ONE: &str = view!(
    "FROM requests r JOIN messages m ON m.id = r.message
       LEFT JOIN notifications n ON n.request = r.number WHERE r.id = ?1"
);
const ALL: &str = view!(
    "FROM requests r JOIN messages m ON m.id = r.message
       LEFT JOIN notifications n ON n.request = r.number ORDER BY r.number DESC LIMIT ?1"
);
const PENDING: &str = view!(
    "FROM requests r INDEXED BY requests_pending JOIN messages m ON m.id = r.message
       LEFT JOIN notifications n ON n.request = r.number
     WHERE r.state = 'pending' ORDER BY r.number DESC LIMIT ?1"
);
const FAILED: &str = view!(
    "FROM requests r INDEXED BY requests_failed JOIN messages m ON m.id = r.message
       LEFT JOIN notifications n ON n.request = r.number
     WHERE r.state = 'failed' ORDER BY r.number DESC LIMIT ?1"
);
const PARKED: &str = view!(
    "FROM notifications n INDEXED BY notifications_parked
       CROSS JOIN requests r ON r.number = n.request JOIN messages m ON m.id = r.message
     WHERE n.state = 'parked' ORDER BY n.request DESC LIMIT ?1"
);

impl Database {
    /// See [`crate::Store::request`].
    pub(super) fn request(&self, id: &RequestId, now: Now) -> Result<Option<RequestView>> {
        let mut statement = self.connection.prepare_cached(ONE)?;
        let view = statement.query_row([id.as_str()], |row| self.view(row, now));
        Ok(view.optional()?)
    }

    /// See [`crate::Store::list`].
    pub(super) fn list(
        &self,
        which: RequestFilter,
        max: u32,
        now: Now,
    ) -> Result<Vec<RequestView>> {
        let mut statement = self.connection.prepare_cached(match which {
            RequestFilter::All => ALL,
            RequestFilter::Pending => PENDING,
            RequestFilter::Failed => FAILED,
            RequestFilter::Parked => PARKED,
        })?;
        let views = statement.query_map(params![max], |row| self.view(row, now))?;
        Ok(views.collect::<rusqlite::Result<_>>()?)
    }

    /// See [`crate::Store::stats`].
    pub(super) fn stats(&self, now: Now) -> Result<StoreStats> {
        let mut statement = self.connection.prepare_cached(
            "SELECT backlog, notifications_pending, notifications_parked, held_until,
               (SELECT min(waits_since) FROM messages WHERE state = 'pending') AS oldest
             FROM meta",
        )?;
        let slots = slots(&self.connection)?;
        let taken = slots.iter().filter(|slot| slot.free_at > now.boot.0);
        let taken = u32::try_from(taken.count()).unwrap_or(u32::MAX);
        let waits_at = self.clock.waits_at(now);
        let since = |at: i64| u64::try_from(waits_at - at).unwrap_or(0);
        let stats = statement.query_row((), |row| {
            let number = |name| row.get::<_, i64>(name).map(i64::unsigned_abs);
            let oldest: Option<i64> = row.get("oldest")?;
            let held_until: i64 = row.get("held_until")?;
            Ok(StoreStats {
                backlog: number("backlog")?,
                oldest_age_ms: oldest.map(since),
                notifications_pending: number("notifications_pending")?,
                notifications_parked: number("notifications_parked")?,
                slots_free: self.quota.calls.saturating_sub(taken),
                held_ms: u64::try_from(held_until - now.boot.0).unwrap_or(0),
            })
        });
        Ok(stats?)
    }

    fn view(&self, row: &Row<'_>, now: Now) -> rusqlite::Result<RequestView> {
        Ok(RequestView {
            id: request_id(row)?,
            state: state(row)?,
            message: row.get("text")?,
            attempts: row.get("tries")?,
            created_at: UnixMillis(row.get("created_at")?),
            notification: self.notification(row, now)?,
        })
    }

    fn notification(&self, row: &Row<'_>, now: Now) -> rusqlite::Result<Option<NotificationView>> {
        let state = match row.get_ref("notified")?.as_str_or_null()? {
            Some("pending") => NotificationState::Pending,
            Some("delivered") => NotificationState::Delivered,
            Some(_) => NotificationState::Parked,
            // The notification is created when the message is finished.
            None if row.get("awaited")? => {
                return Ok(Some(NotificationView {
                    state: NotificationState::Pending,
                    attempts: 0,
                    last_error: None,
                    next_attempt_at: None,
                }));
            }
            None => return Ok(None),
        };
        let due_at: Option<i64> = row.get("due_at")?;
        // A restart of the machine moves the store's time past all earlier plans. They are due now.
        let is_skipped = |at| at < self.clock.ahead_ms;
        let due_at = due_at.map(|at| if is_skipped(at) { now.boot.0 } else { at });
        Ok(Some(NotificationView {
            state,
            attempts: row.get("deliveries")?,
            last_error: row.get("last_error")?,
            next_attempt_at: due_at
                .map(|at| UnixMillis(now.wall.0.saturating_add(at - now.boot.0))),
        }))
    }
}
