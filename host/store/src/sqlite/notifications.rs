//! Telling callers what became of their requests.

use super::requests::{request_id, state};
use super::{Sqlite, lease_token};
use crate::{
    Callback, MessageId, MessageState, Notification, NotificationLease, NotificationOutcome, Now,
    Redelivery, RequestId, Result, StoreError, UnixMillis,
};
use rusqlite::{Connection, Row, params};

/// Further ahead than any try is planned: the wall clock stepped back, and the plan is void.
const PLANNED_MS_MAX: i64 = 3 * 24 * 60 * 60 * 1000;

impl Sqlite {
    /// Takes up to `most` notifications that are due, the oldest first, but none for a host in
    /// `busy`: tries there are under way already, as many as may be.
    pub fn begin_notifications(
        &mut self,
        most: u32,
        busy: &[&str],
        now: Now,
    ) -> Result<Vec<Notification>> {
        self.transaction(|transaction| {
            let mut begun = Vec::new();
            let found = due(transaction, most, busy, now)?;
            for (request, host) in found {
                let token = lease_token(transaction)?;
                let mut statement = transaction.prepare_cached(
                    "UPDATE notifications SET lease = ?2, first_try_at = ifnull(first_try_at, ?3)
                     WHERE request = ?1",
                )?;
                statement.execute(params![request.as_str(), token, now.wall.0])?;
                let lease = NotificationLease { request, token };
                begun.push(notification(transaction, &lease, host)?);
            }
            Ok(begun)
        })
    }

    /// Writes down what a try came to.
    pub fn finish_notification(
        &mut self,
        lease: &NotificationLease,
        outcome: &NotificationOutcome,
    ) -> Result<()> {
        let (state, due_at, last_error) = match outcome {
            NotificationOutcome::Delivered => ("delivered", None, None),
            NotificationOutcome::Again { at, why } => ("pending", Some(at.0), Some(why)),
            NotificationOutcome::Parked { why } => ("parked", None, Some(why)),
        };
        self.transaction(|transaction| {
            let mut statement = transaction.prepare_cached(
                "UPDATE notifications
                 SET state = ?3, due_at = ?4, last_error = ?5, lease = NULL, tries = tries + 1
                 WHERE request = ?1 AND lease = ?2",
            )?;
            let request = lease.request.as_str();
            let changed =
                statement.execute(params![request, lease.token, state, due_at, last_error])?;
            if changed == 1 {
                Ok(())
            } else {
                Err(StoreError::LeaseLost)
            }
        })
    }

    /// Makes a notification due, whatever became of it, with all tries before it. A try that is under
    /// way ends for itself.
    pub fn redeliver(&mut self, request: &RequestId, now: Now) -> Result<Redelivery> {
        self.transaction(|transaction| {
            let mut statement = transaction.prepare_cached(
                "UPDATE notifications
                 SET state = 'pending', due_at = ?2, tries = 0, first_try_at = NULL, lease = NULL
                 WHERE request = ?1",
            )?;
            let changed = statement.execute(params![request.as_str(), now.wall.0])?;
            Ok(if changed == 1 {
                Redelivery::Due
            } else {
                Redelivery::None
            })
        })
    }

    /// When the next notification is due that nobody delivers; none where none waits.
    pub fn next_notification_at(&self) -> Result<Option<UnixMillis>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT min(due_at) FROM notifications WHERE state = 'pending' AND lease IS NULL",
        )?;
        let at: Option<i64> = statement.query_row((), |row| row.get(0))?;
        Ok(at.map(UnixMillis))
    }
}

/// For all requests that wait for this message, but those that are answered with the result.
pub(super) fn create(
    transaction: &Connection,
    message: MessageId,
    answered: &[RequestId],
    now: Now,
) -> Result<()> {
    let mut waiting = transaction.prepare_cached(
        "SELECT id, host FROM requests WHERE message = ?1 AND open = 1 AND callback IS NOT NULL",
    )?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO notifications (request, host, state, due_at) VALUES (?1, ?2, 'pending', ?3)",
    )?;
    let rows = waiting.query_map([message.0], |row| Ok((request_id(row)?, row.get(1)?)))?;
    for row in rows {
        let (request, host): (RequestId, String) = row?;
        if !answered.contains(&request) {
            insert.execute(params![request.as_str(), host, now.wall.0])?;
        }
    }
    Ok(())
}

fn due(
    transaction: &Connection,
    most: u32,
    busy: &[&str],
    now: Now,
) -> Result<Vec<(RequestId, String)>> {
    // Hosts are few and short; a list of their own has no place in SQL.
    let mut statement = transaction.prepare_cached(
        "SELECT request, host FROM notifications
         WHERE state = 'pending' AND lease IS NULL AND (due_at <= ?1 OR due_at > ?2)
         ORDER BY due_at",
    )?;
    let void = now.wall.0.saturating_add(PLANNED_MS_MAX);
    let rows = statement.query_map([now.wall.0, void], |row| {
        Ok((request_id(row)?, row.get::<_, String>(1)?))
    })?;
    let free = rows.filter(|row| match row {
        Ok((_, host)) => !busy.contains(&host.as_str()),
        Err(_) => true,
    });
    Ok(free.take(most as usize).collect::<rusqlite::Result<_>>()?)
}

fn notification(
    transaction: &Connection,
    lease: &NotificationLease,
    host: String,
) -> Result<Notification> {
    let mut statement = transaction.prepare_cached(
        "SELECT m.text, m.state, m.signature, m.error, m.finished_at, r.callback, n.tries, n.first_try_at
         FROM notifications n JOIN requests r ON r.id = n.request JOIN messages m ON m.id = r.message
         WHERE n.request = ?1",
    )?;
    let found = statement.query_row([lease.request.as_str()], |row: &Row<'_>| {
        Ok(Notification {
            callback: Callback {
                url: row.get("callback")?,
                host,
            },
            message: row.get("text")?,
            outcome: match state(row)? {
                MessageState::Signed(signature) => Ok(signature),
                MessageState::Failed(error) => Err(error),
                // A notification is made when its message is finished.
                MessageState::Pending => return Err(rusqlite::Error::InvalidQuery),
            },
            finished_at: UnixMillis(row.get("finished_at")?),
            number: row.get::<_, u32>("tries")?.saturating_add(1),
            first_try_at: UnixMillis(row.get("first_try_at")?),
            lease: lease.clone(),
        })
    });
    Ok(found?)
}
