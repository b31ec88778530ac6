//! Queries for callers, operators and metrics.

use super::database::Database;
use super::requests::{request_id, state};
use super::slots::slots;
use crate::{
    NotificationState, NotificationView, Now, Owner, RequestFilter, RequestId, RequestQuery,
    RequestView, Result, StoreStats, UnixMillis, Viewer,
};
use rusqlite::{OptionalExtension as _, Row, params};

/// All columns of a [`RequestView`], of a request `r`, its message `m` and its notification `n`.
const COLUMNS: &str = "r.id, r.owner, m.state, m.signature, m.error, m.text, m.tries, r.created_at,
     r.callback IS NOT NULL AND r.state = 'pending' AS awaited,
     n.state AS notified, n.tries AS deliveries, n.last_error, n.due_at";

/// Restricts a query to the viewer in parameter 2: an owner, or NULL for all requests.
const VISIBLE: &str = "(?2 IS NULL OR r.owner = ?2 AND r.owner <> '')";

/// Returns the statement for a list. Parameter 1 is the maximum number of requests, 2 the viewer, and 3 the
/// number before which the list begins. The statements name their indexes, so that a short list never becomes
/// a scan of the whole table.
fn list_statement(query: &RequestQuery) -> String {
    let (index, condition) = match (query.filter, &query.viewer) {
        (RequestFilter::Parked, _) => {
            return format!(
                "SELECT {COLUMNS} FROM notifications n INDEXED BY notifications_parked
                   CROSS JOIN requests r ON r.number = n.request JOIN messages m ON m.id = r.message
                 WHERE n.state = 'parked' AND {VISIBLE} AND n.request < ?3
                 ORDER BY n.request DESC LIMIT ?1"
            );
        }
        (RequestFilter::All, Viewer::All) => ("", "true"),
        (RequestFilter::Pending, Viewer::All) => {
            ("INDEXED BY requests_pending", "r.state = 'pending'")
        }
        (RequestFilter::Signed, Viewer::All) => {
            ("INDEXED BY requests_signed", "r.state = 'signed'")
        }
        (RequestFilter::Failed, Viewer::All) => {
            ("INDEXED BY requests_failed", "r.state = 'failed'")
        }
        (RequestFilter::All, Viewer::Owner(_)) => ("INDEXED BY requests_owned", "r.owner = ?2"),
        (RequestFilter::Pending, Viewer::Owner(_)) => (
            "INDEXED BY requests_owned_state",
            "r.owner = ?2 AND r.state = 'pending'",
        ),
        (RequestFilter::Signed, Viewer::Owner(_)) => (
            "INDEXED BY requests_owned_state",
            "r.owner = ?2 AND r.state = 'signed'",
        ),
        (RequestFilter::Failed, Viewer::Owner(_)) => (
            "INDEXED BY requests_owned_state",
            "r.owner = ?2 AND r.state = 'failed'",
        ),
    };
    let owned = match query.viewer {
        Viewer::All => "",
        // The condition of the indexes.
        Viewer::Owner(_) => "AND r.owner <> ''",
    };
    format!(
        "SELECT {COLUMNS} FROM requests r {index} JOIN messages m ON m.id = r.message
           LEFT JOIN notifications n ON n.request = r.number
         WHERE {condition} {owned} AND r.number < ?3 ORDER BY r.number DESC LIMIT ?1"
    )
}

impl Database {
    /// See [`crate::Store::request`].
    pub(super) fn request(
        &self,
        id: &RequestId,
        viewer: &Viewer,
        now: Now,
    ) -> Result<Option<RequestView>> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM requests r JOIN messages m ON m.id = r.message
               LEFT JOIN notifications n ON n.request = r.number WHERE r.id = ?1 AND {VISIBLE}"
        ))?;
        let owner = viewer.owner().map(Owner::as_str);
        let view = statement.query_row(params![id.as_str(), owner], |row| self.view(row, now));
        Ok(view.optional()?)
    }

    /// Returns the number of a request, or `None` if it does not exist for the viewer.
    fn number(&self, id: &RequestId, viewer: &Viewer) -> Result<Option<i64>> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT r.number FROM requests r WHERE r.id = ?1 AND {VISIBLE}"
        ))?;
        let owner = viewer.owner().map(Owner::as_str);
        let number = statement.query_row(params![id.as_str(), owner], |row| row.get(0));
        Ok(number.optional()?)
    }

    /// See [`crate::Store::list`].
    pub(super) fn list(&self, query: &RequestQuery, now: Now) -> Result<Option<Vec<RequestView>>> {
        let before = match &query.after {
            None => i64::MAX,
            Some(after) => match self.number(after, &query.viewer)? {
                Some(number) => number,
                None => return Ok(None),
            },
        };
        let mut statement = self.connection.prepare_cached(&list_statement(query))?;
        let owner = query.viewer.owner().map(Owner::as_str);
        let views =
            statement.query_map(params![query.max, owner, before], |row| self.view(row, now))?;
        Ok(Some(views.collect::<rusqlite::Result<_>>()?))
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
            owner: Owner::of_column(row.get_ref("owner")?.as_str()?),
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
