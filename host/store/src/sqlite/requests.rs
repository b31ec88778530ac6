//! Requests and their messages.

use super::database::Database;
use super::queues;
use crate::{
    Accepted, BacklogMax, Callback, MessageId, MessageState, NewRequest, Now, Owner, RequestId,
    Result, TraceParent,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sha2::{Digest as _, Sha256};

/// The index key of a message. Messages with the same key are distinguished by their text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fingerprint(i64);

impl Fingerprint {
    pub(super) fn of(message: &str) -> Self {
        let digest = Sha256::digest(message.as_bytes());
        let first = digest.iter().take(8);
        Self(first.fold(0, |bits, byte| (bits << 8) | i64::from(*byte)))
    }

    #[cfg(test)]
    pub(super) fn column(self) -> i64 {
        self.0
    }
}

/// A stored message.
struct Known {
    message: MessageId,
    state: MessageState,
    finished_at: Option<i64>,
}

impl Database {
    /// See [`crate::Store::accept`]. `fingerprint` is that of the message.
    pub(super) fn accept(
        &mut self,
        new: &NewRequest,
        fingerprint: Fingerprint,
        max: BacklogMax,
        now: Now,
    ) -> Result<Accepted> {
        let waits_since = self.clock.waits_at(now);
        self.transaction(|transaction| {
            let Some(known) = known(transaction, fingerprint, &new.message)? else {
                if is_owner_full(transaction, new, max)? {
                    return Ok(Accepted::OwnerFull);
                }
                if backlog(transaction)? >= max.messages {
                    return Ok(Accepted::BacklogFull);
                }
                let message = insert_message(transaction, fingerprint, new, waits_since, now)?;
                insert(transaction, new, new.callback.as_ref(), message, now)?;
                return Ok(Accepted::Pending(new.id.clone()));
            };
            match &known.state {
                MessageState::Pending => {
                    let callback = new.callback.as_ref();
                    if let Some(id) = same_request(transaction, new, known.message, callback)? {
                        share(transaction, &id)?;
                        return Ok(Accepted::Pending(id));
                    }
                    if is_owner_full(transaction, new, max)? {
                        return Ok(Accepted::OwnerFull);
                    }
                    if requests(transaction, new, known.message, max.callers)? >= max.callers {
                        return Ok(Accepted::CallersFull);
                    }
                    insert(transaction, new, callback, known.message, now)?;
                    queues::move_message(transaction, known.message, new.owner.as_ref())?;
                    Ok(Accepted::Pending(new.id.clone()))
                }
                MessageState::Signed(signature) => Ok(Accepted::Signed {
                    id: finished_request(transaction, new, &known, "signed", now)?,
                    signature: signature.clone(),
                }),
                MessageState::Failed(error) => Ok(Accepted::Failed {
                    id: finished_request(transaction, new, &known, "failed", now)?,
                    error: error.clone(),
                }),
            }
        })
    }

    /// See [`crate::Store::signature`].
    pub(super) fn signature(
        &self,
        fingerprint: Fingerprint,
        message: &str,
    ) -> Result<Option<String>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT signature FROM messages WHERE fingerprint = ?1 AND text = ?2",
        )?;
        let found = statement.query_row(params![fingerprint.0, message], |row| row.get(0));
        let signature = found.optional()?;
        Ok(signature.flatten())
    }

    /// See [`crate::Store::sweep`].
    pub(super) fn sweep(&mut self, retention_ms: u64, max: u32, now: Now) -> Result<u64> {
        self.transaction(|transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT number, message FROM requests WHERE done_at < ?1 ORDER BY done_at LIMIT ?2",
            )?;
            let before = now.wall.0.saturating_sub_unsigned(retention_ms);
            let rows =
                statement.query_map(params![before, max], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let old: Vec<(i64, i64)> = rows.collect::<rusqlite::Result<_>>()?;
            for (request, message) in &old {
                remove(transaction, *request, *message)?;
            }
            Ok(old.len() as u64)
        })
    }
}

fn known(
    transaction: &Connection,
    fingerprint: Fingerprint,
    message: &str,
) -> Result<Option<Known>> {
    let mut statement = transaction.prepare_cached(
        "SELECT id, state, signature, error, finished_at FROM messages
         WHERE fingerprint = ?1 AND text = ?2",
    )?;
    let found = statement.query_row(params![fingerprint.0, message], |row| {
        Ok(Known {
            message: MessageId(row.get("id")?),
            state: state(row)?,
            finished_at: row.get("finished_at")?,
        })
    });
    Ok(found.optional()?)
}

pub(super) fn state(row: &Row<'_>) -> rusqlite::Result<MessageState> {
    // The schema allows no other state.
    Ok(match row.get_ref("state")?.as_str()? {
        "signed" => MessageState::Signed(row.get("signature")?),
        "failed" => MessageState::Failed(row.get("error")?),
        _ => MessageState::Pending,
    })
}

pub(super) fn backlog(connection: &Connection) -> Result<u64> {
    let mut statement = connection.prepare_cached("SELECT backlog FROM meta")?;
    let count: i64 = statement.query_row((), |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Returns the number of requests of a caller for a message, at most `max`.
fn requests(
    transaction: &Connection,
    new: &NewRequest,
    message: MessageId,
    max: u32,
) -> Result<u32> {
    let mut statement = transaction.prepare_cached(
        "SELECT count(*) FROM
           (SELECT 1 FROM requests INDEXED BY requests_same
            WHERE message = ?1 AND owner = ?2 LIMIT ?3)",
    )?;
    let owner = Owner::column(new.owner.as_ref());
    Ok(statement.query_row(params![message.0, owner, max], |row| row.get(0))?)
}

/// Returns whether the maximum number of requests of the owner is waiting.
fn is_owner_full(transaction: &Connection, new: &NewRequest, max: BacklogMax) -> Result<bool> {
    let (Some(owner), Some(max)) = (new.owner.as_ref(), max.owned) else {
        return Ok(false);
    };
    let mut statement = transaction.prepare_cached(
        "SELECT count(*) >= ?2 FROM
           (SELECT 1 FROM requests INDEXED BY requests_owned_state
            WHERE owner = ?1 AND owner <> '' AND state = 'pending' LIMIT ?2)",
    )?;
    let owner = Owner::column(Some(owner));
    Ok(statement.query_row(params![owner, max], |row| row.get(0))?)
}

fn insert_message(
    transaction: &Connection,
    fingerprint: Fingerprint,
    new: &NewRequest,
    waits_since: i64,
    now: Now,
) -> Result<MessageId> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO messages (fingerprint, text, owner, state, created_at, waits_since, due_at)
         VALUES (?1, ?2, ?3, 'pending', ?4, ?5, ?6)",
    )?;
    let id = statement.insert(params![
        fingerprint.0,
        new.message,
        Owner::column(new.owner.as_ref()),
        now.wall.0,
        waits_since,
        now.boot.0
    ])?;
    let mut statement = transaction.prepare_cached("UPDATE meta SET backlog = backlog + 1")?;
    statement.execute(())?;
    Ok(MessageId(id))
}

/// Inserts a request that waits.
fn insert(
    transaction: &Connection,
    new: &NewRequest,
    callback: Option<&Callback>,
    message: MessageId,
    now: Now,
) -> Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO requests (id, message, owner, callback, host, traceparent, created_at, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending')",
    )?;
    let owner = Owner::column(new.owner.as_ref());
    let (id, url) = (new.id.as_str(), callback.map(|callback| &callback.url));
    let host = callback.map(|callback| &callback.host);
    let trace = new.trace.as_ref().map(TraceParent::as_str);
    statement.insert(params![id, message.0, owner, url, host, trace, now.wall.0])?;
    Ok(())
}

/// Returns the request of the same owner with this message and callback, if there is one.
fn same_request(
    transaction: &Connection,
    new: &NewRequest,
    message: MessageId,
    callback: Option<&Callback>,
) -> Result<Option<RequestId>> {
    let mut statement = transaction.prepare_cached(
        "SELECT id FROM requests WHERE message = ?1 AND owner = ?2 AND ifnull(callback, '') = ?3",
    )?;
    let owner = Owner::column(new.owner.as_ref());
    let url = callback.map_or("", |callback| &callback.url);
    let id = statement.query_row(params![message.0, owner, url], request_id);
    Ok(id.optional()?)
}

/// Marks a request as shared. Does not write if it is marked already, so that repeated requests cost no
/// disk access.
fn share(transaction: &Connection, id: &RequestId) -> Result<()> {
    let mut statement = transaction
        .prepare_cached("UPDATE requests SET shared = 1 WHERE id = ?1 AND shared = 0")?;
    statement.execute([id.as_str()])?;
    Ok(())
}

/// Returns the id for requests whose message is finished. Their callers receive the result at once, without
/// a notification. All requests of one owner share one, so that repeated requests do not write.
fn finished_request(
    transaction: &Connection,
    new: &NewRequest,
    known: &Known,
    state: &str,
    now: Now,
) -> Result<RequestId> {
    if let Some(id) = same_request(transaction, new, known.message, None)? {
        return Ok(id);
    }
    let mut statement = transaction.prepare_cached(
        "INSERT INTO requests (id, message, owner, created_at, state, done_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    statement.insert(params![
        new.id.as_str(),
        known.message.0,
        Owner::column(new.owner.as_ref()),
        now.wall.0,
        state,
        known.finished_at
    ])?;
    Ok(new.id.clone())
}

/// Removes a request with its notification, and its message if no other request has it.
fn remove(transaction: &Connection, request: i64, message: i64) -> Result<()> {
    let mut statement = transaction.prepare_cached(
        "UPDATE meta SET notifications_parked = notifications_parked - 1
         WHERE EXISTS (SELECT 1 FROM notifications WHERE request = ?1 AND state = 'parked')",
    )?;
    statement.execute([request])?;
    for part in [
        "DELETE FROM notifications WHERE request = ?1 AND state <> 'pending'",
        "DELETE FROM requests WHERE number = ?1",
    ] {
        transaction.prepare_cached(part)?.execute([request])?;
    }
    let mut statement = transaction.prepare_cached(
        "DELETE FROM messages
         WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM requests WHERE message = ?1)",
    )?;
    statement.execute([message])?;
    Ok(())
}

/// Parses a stored trace context.
pub(super) fn trace(stored: Option<String>) -> Option<TraceParent> {
    TraceParent::parse(&stored?)
}

pub(super) fn request_id(row: &Row<'_>) -> rusqlite::Result<RequestId> {
    let text: String = row.get("id")?;
    RequestId::parse(&text).ok_or(rusqlite::Error::InvalidQuery)
}
