//! Notifications of callers about finished messages.

use super::database::{Database, lease_token};
use super::requests::{request_id, state, trace};
use crate::rules::{self, NOTIFICATION_LEASE_MS};
use crate::{
    Callback, Claim, MessageId, MessageState, Notification, NotificationLease, NotificationOutcome,
    Now, Redelivery, RequestId, Result, StoreError, UnixMillis,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::BTreeSet;

/// Hosts, ordered by the time when their first notification is due.
type DueHosts = BTreeSet<(i64, String)>;

impl Database {
    /// See [`crate::Store::claim_notifications`].
    pub(super) fn claim_notifications(
        &mut self,
        max: u32,
        busy: &[String],
        now: Now,
    ) -> Result<Claim<Vec<Notification>>> {
        self.transaction(|transaction| {
            let (mut due, next_at) = due_hosts(transaction, max, busy, now)?;
            let mut claimed = Vec::new();
            let mut hosts = BTreeSet::new();
            while claimed.len() < max as usize
                && let Some((_, host)) = due.pop_first()
            {
                // A claimed notification is not found again by the next query.
                if let Some((request, _)) = next_of(transaction, &host)? {
                    claimed.push(take(transaction, request, now)?);
                }
                if let Some((_, due_at)) = next_of(transaction, &host)?
                    && due_at <= now.boot.0
                {
                    due.insert((due_at, host.clone()));
                }
                hosts.insert(host);
            }
            for host in &hosts {
                plan_host(transaction, host)?;
            }
            Ok(if claimed.is_empty() {
                rules::retry_after(next_at, now.boot.0)
            } else {
                Claim::Acquired(claimed)
            })
        })
    }

    /// See [`crate::Store::finish_notification`].
    pub(super) fn finish_notification(
        &mut self,
        lease: &NotificationLease,
        outcome: &NotificationOutcome,
        now: Now,
    ) -> Result<()> {
        let (state, due_at, last_error) = match outcome {
            NotificationOutcome::Delivered => ("delivered", None, None),
            NotificationOutcome::Retry { after_ms, why } => {
                let due_at = rules::after(now.boot.0, *after_ms);
                ("pending", Some(due_at), Some(why))
            }
            NotificationOutcome::Parked { why } => ("parked", None, Some(why)),
        };
        self.transaction(|transaction| {
            let mut statement = transaction.prepare_cached(
                "UPDATE notifications
                 SET state = ?3, due_at = ?4, last_error = ?5, lease = NULL, leased_until = NULL,
                     tries = tries + 1
                 WHERE request = (SELECT number FROM requests WHERE id = ?1) AND lease = ?2
                 RETURNING request, host",
            )?;
            let id = lease.request.as_str();
            let changed = statement
                .query_row(params![id, lease.token, state, due_at, last_error], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            let (request, host): (i64, String) = changed.ok_or(StoreError::LeaseLost)?;
            match outcome {
                NotificationOutcome::Retry { .. } => {}
                NotificationOutcome::Delivered => {
                    count(transaction, -1, 0)?;
                    let mut statement = transaction.prepare_cached(
                        "UPDATE requests SET done_at =
                           (SELECT finished_at FROM messages WHERE id = requests.message)
                         WHERE number = ?1",
                    )?;
                    statement.execute([request])?;
                }
                NotificationOutcome::Parked { .. } => {
                    count(transaction, -1, 1)?;
                    let mut statement = transaction
                        .prepare_cached("UPDATE requests SET done_at = ?2 WHERE number = ?1")?;
                    statement.execute([request, now.wall.0])?;
                }
            }
            plan_host(transaction, &host)
        })
    }

    /// See [`crate::Store::redeliver`].
    pub(super) fn redeliver(&mut self, id: &RequestId, now: Now) -> Result<Redelivery> {
        self.transaction(|transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT n.request, n.host, n.state = 'pending', n.state = 'parked', n.due_at,
                   n.first_try_at
                 FROM notifications n JOIN requests r ON r.number = n.request WHERE r.id = ?1",
            )?;
            let found = statement.query_row([id.as_str()], |row| {
                let events = [(row.get(4)?, now.boot.0), (row.get(5)?, now.wall.0)];
                let row = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((row, events))
            });
            let Some(((request, host, pending, parked), events)) = found.optional()? else {
                return Ok(Redelivery::NotFound);
            };
            if let Some(too_soon) = rules::redelivery_too_soon(events) {
                return Ok(too_soon);
            }
            let (request, host): (i64, String) = (request, host);
            let mut statement = transaction.prepare_cached(
                "UPDATE notifications
                 SET state = 'pending', due_at = ?2, tries = 0, first_try_at = NULL, lease = NULL,
                     leased_until = NULL
                 WHERE request = ?1",
            )?;
            statement.execute([request, now.boot.0])?;
            let mut statement = transaction
                .prepare_cached("UPDATE requests SET done_at = NULL WHERE number = ?1")?;
            statement.execute([request])?;
            let (pending, parked): (bool, bool) = (pending, parked);
            count(transaction, i64::from(!pending), -i64::from(parked))?;
            plan_host(transaction, &host)?;
            Ok(Redelivery::Due)
        })
    }

    /// See [`crate::Store::heartbeat`]. Expires leases. The holder of an expired lease may still finish, as
    /// long as no other attempt is claimed.
    pub(super) fn heartbeat(&mut self, now: Now) -> Result<()> {
        self.transaction(|transaction| expire_leases(transaction, now.boot.0))
    }
}

/// Expires all leases that end at `ended_by` or before.
pub(super) fn expire_leases(transaction: &Connection, ended_by: i64) -> Result<()> {
    let mut statement = transaction
        .prepare_cached("UPDATE messages SET leased_until = NULL WHERE leased_until <= ?1")?;
    statement.execute([ended_by])?;
    let mut statement = transaction.prepare_cached(
        "UPDATE notifications SET leased_until = NULL WHERE leased_until <= ?1 RETURNING host",
    )?;
    let hosts = statement.query_map([ended_by], |row| row.get(0))?;
    let hosts: BTreeSet<String> = hosts.collect::<rusqlite::Result<_>>()?;
    hosts
        .iter()
        .try_for_each(|host| plan_host(transaction, host))
}

/// Creates the notifications for all requests that wait for this message, which is now in `state`.
///
/// Requests in `answered` that are not shared get none, because their callers receive the result directly.
pub(super) fn create(
    transaction: &Connection,
    message: MessageId,
    state: &str,
    answered: &[RequestId],
    now: Now,
) -> Result<()> {
    let mut statement = transaction.prepare_cached(
        "UPDATE requests SET state = ?2, done_at = ?3 WHERE message = ?1 AND state = 'pending'
         RETURNING number, id, host, shared",
    )?;
    let waited = statement.query_map(params![message.0, state, now.wall.0], |row| {
        let answered = !row.get("shared")? && answered.contains(&request_id(row)?);
        let host: Option<String> = row.get("host")?;
        Ok((row.get("number")?, host.filter(|_| !answered)))
    })?;
    let waited: Vec<(i64, Option<String>)> = waited.collect::<rusqlite::Result<_>>()?;
    let mut open =
        transaction.prepare_cached("UPDATE requests SET done_at = NULL WHERE number = ?1")?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO notifications (request, host, state, due_at) VALUES (?1, ?2, 'pending', ?3)",
    )?;
    for (request, host) in waited {
        if let Some(host) = host {
            open.execute([request])?;
            insert.execute(params![request, host, now.boot.0])?;
            count(transaction, 1, 0)?;
            plan_host(transaction, &host)?;
        }
    }
    Ok(())
}

/// Adds to the stored numbers of notifications.
fn count(transaction: &Connection, pending: i64, parked: i64) -> Result<()> {
    let mut statement = transaction.prepare_cached(
        "UPDATE meta SET notifications_pending = notifications_pending + ?1,
           notifications_parked = notifications_parked + ?2",
    )?;
    statement.execute([pending, parked])?;
    Ok(())
}

/// Returns the first `max` hosts that have a due notification and are not busy, and the time when the first
/// notification of all hosts that are not busy is due.
///
/// The first `max` hosts are enough, because the oldest `max` notifications belong to them.
fn due_hosts(
    transaction: &Connection,
    max: u32,
    busy: &[String],
    now: Now,
) -> Result<(DueHosts, Option<i64>)> {
    let mut statement =
        transaction.prepare_cached("SELECT due_at, host FROM hosts ORDER BY due_at, host")?;
    let mut rows = statement.query(())?;
    let (mut due, mut next_at) = (DueHosts::new(), None);
    while let Some(row) = rows.next()? {
        let (due_at, host): (i64, String) = (row.get(0)?, row.get(1)?);
        if busy.contains(&host) {
            continue;
        }
        next_at.get_or_insert(due_at);
        if due_at > now.boot.0 || due.len() >= max as usize {
            break;
        }
        due.insert((due_at, host));
    }
    Ok((due, next_at))
}

/// Returns the next notification of a host without an active delivery, and the time when it is due.
fn next_of(transaction: &Connection, host: &str) -> Result<Option<(i64, i64)>> {
    let mut statement = transaction.prepare_cached(
        "SELECT request, due_at FROM notifications INDEXED BY notifications_due
         WHERE host = ?1 AND state = 'pending' AND leased_until IS NULL
         ORDER BY due_at LIMIT 1",
    )?;
    let next = statement.query_row([host], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(next.optional()?)
}

/// Updates the table of hosts after a change of a host's notifications.
fn plan_host(transaction: &Connection, host: &str) -> Result<()> {
    if let Some((_, due_at)) = next_of(transaction, host)? {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO hosts (host, due_at) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET due_at = excluded.due_at WHERE due_at <> excluded.due_at",
        )?;
        statement.execute(params![host, due_at])?;
    } else {
        let mut statement = transaction.prepare_cached("DELETE FROM hosts WHERE host = ?1")?;
        statement.execute([host])?;
    }
    Ok(())
}

fn take(transaction: &Connection, request: i64, now: Now) -> Result<Notification> {
    let token = lease_token(transaction)?;
    let mut statement = transaction.prepare_cached(
        "UPDATE notifications
         SET lease = ?2, leased_until = ?3, first_try_at = ifnull(first_try_at, ?4)
         WHERE request = ?1",
    )?;
    let leased_until = now.boot.0 + NOTIFICATION_LEASE_MS;
    statement.execute(params![request, token, leased_until, now.wall.0])?;
    let mut statement = transaction.prepare_cached(
        "SELECT r.id, m.text, m.state, m.signature, m.error, m.finished_at, r.callback, n.host,
           r.traceparent, n.tries, n.first_try_at
         FROM notifications n JOIN requests r ON r.number = n.request
           JOIN messages m ON m.id = r.message
         WHERE n.request = ?1",
    )?;
    let found = statement.query_row([request], |row: &Row<'_>| {
        Ok(Notification {
            lease: NotificationLease {
                request: request_id(row)?,
                token,
            },
            callback: Callback {
                url: row.get("callback")?,
                host: row.get("host")?,
            },
            message: row.get("text")?,
            outcome: match state(row)? {
                MessageState::Signed(signature) => Ok(signature),
                MessageState::Failed(error) => Err(error),
                // A notification is created when its message is finished.
                MessageState::Pending => return Err(rusqlite::Error::InvalidQuery),
            },
            finished_at: UnixMillis(row.get("finished_at")?),
            number: row.get::<_, u32>("tries")?.saturating_add(1),
            first_attempt_at: UnixMillis(row.get("first_try_at")?),
            trace: trace(row.get("traceparent")?),
        })
    });
    Ok(found?)
}
