//! Requests and their messages.

use super::Sqlite;
use crate::{
    Accepted, Callback, MessageId, MessageState, NewRequest, NotificationState, NotificationView,
    Now, RequestId, RequestView, Result, UnixMillis,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sha2::{Digest as _, Sha256};

impl Sqlite {
    /// Stores a request, unless its message is finished or more than `backlog_max` messages wait
    /// already.
    pub fn accept(&mut self, new: &NewRequest, backlog_max: u64, now: Now) -> Result<Accepted> {
        self.transaction(|transaction| {
            let digest: [u8; 32] = Sha256::digest(new.message.as_bytes()).into();
            let Some((message, state)) = message(transaction, &digest)? else {
                if backlog(transaction)? >= backlog_max {
                    return Ok(Accepted::BacklogFull);
                }
                let message = insert_message(transaction, &digest, &new.message, now)?;
                insert(transaction, new, new.callback.as_ref(), message, true, now)?;
                return Ok(Accepted::Pending(new.id.clone()));
            };
            match state {
                MessageState::Pending => {
                    let id = same_request(transaction, message, new.callback.as_ref())?;
                    if let Some(id) = id {
                        return Ok(Accepted::Pending(id));
                    }
                    insert(transaction, new, new.callback.as_ref(), message, true, now)?;
                    Ok(Accepted::Pending(new.id.clone()))
                }
                MessageState::Signed(signature) => {
                    let id = finished_request(transaction, new, message, now)?;
                    Ok(Accepted::Signed { id, signature })
                }
                MessageState::Failed(error) => {
                    let id = finished_request(transaction, new, message, now)?;
                    Ok(Accepted::Failed { id, error })
                }
            }
        })
    }

    /// A request as its caller may see it.
    pub fn request(&self, id: &RequestId) -> Result<Option<RequestView>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT m.state, m.signature, m.error, m.text, m.tries, r.created_at,
               r.callback IS NOT NULL AND r.open = 1 AS awaited,
               n.state AS notified, n.tries AS deliveries, n.last_error, n.due_at
             FROM requests r JOIN messages m ON m.id = r.message
               LEFT JOIN notifications n ON n.request = r.id
             WHERE r.id = ?1",
        )?;
        let view = statement.query_row([id.as_str()], |row| {
            Ok(RequestView {
                id: id.clone(),
                state: state(row)?,
                message: row.get("text")?,
                tries: row.get("tries")?,
                created_at: UnixMillis(row.get("created_at")?),
                notification: notification(row)?,
            })
        });
        Ok(view.optional()?)
    }

    /// How many messages wait to be signed.
    pub fn backlog(&self) -> Result<u64> {
        backlog(&self.connection)
    }
}

fn message(
    transaction: &Connection,
    digest: &[u8; 32],
) -> Result<Option<(MessageId, MessageState)>> {
    let mut statement = transaction
        .prepare_cached("SELECT id, state, signature, error FROM messages WHERE digest = ?1")?;
    let found = statement.query_row([digest], |row| Ok((MessageId(row.get("id")?), state(row)?)));
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

fn notification(row: &Row<'_>) -> rusqlite::Result<Option<NotificationView>> {
    let state = match row.get_ref("notified")?.as_str_or_null()? {
        Some("pending") => NotificationState::Pending,
        Some("delivered") => NotificationState::Delivered,
        Some(_) => NotificationState::Parked,
        // There will be one once the message is finished.
        None if row.get("awaited")? => {
            return Ok(Some(NotificationView {
                state: NotificationState::Pending,
                tries: 0,
                last_error: None,
                next_try_at: None,
            }));
        }
        None => return Ok(None),
    };
    Ok(Some(NotificationView {
        state,
        tries: row.get("deliveries")?,
        last_error: row.get("last_error")?,
        next_try_at: row.get::<_, Option<i64>>("due_at")?.map(UnixMillis),
    }))
}

fn backlog(connection: &Connection) -> Result<u64> {
    let mut statement = connection.prepare_cached("SELECT backlog FROM meta")?;
    let count: i64 = statement.query_row((), |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

fn insert_message(
    transaction: &Connection,
    digest: &[u8; 32],
    text: &str,
    now: Now,
) -> Result<MessageId> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO messages (digest, text, state, created_at, due_at)
         VALUES (?1, ?2, 'pending', ?3, ?3)",
    )?;
    let id = statement.insert(params![digest, text, now.wall.0])?;
    let mut statement = transaction.prepare_cached("UPDATE meta SET backlog = backlog + 1")?;
    statement.execute(())?;
    Ok(MessageId(id))
}

fn insert(
    transaction: &Connection,
    new: &NewRequest,
    callback: Option<&Callback>,
    message: MessageId,
    open: bool,
    now: Now,
) -> Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO requests (id, message, callback, host, created_at, open)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let (id, url) = (new.id.as_str(), callback.map(|callback| &callback.url));
    let host = callback.map(|callback| &callback.host);
    statement.insert(params![id, message.0, url, host, now.wall.0, open])?;
    Ok(())
}

/// The request with this message and callback, while it waits.
fn same_request(
    transaction: &Connection,
    message: MessageId,
    callback: Option<&Callback>,
) -> Result<Option<RequestId>> {
    let mut statement = transaction.prepare_cached(
        "SELECT id FROM requests
         WHERE message = ?1 AND ifnull(callback, '') = ifnull(?2, '') AND open = 1",
    )?;
    let url = callback.map(|callback| &callback.url);
    let id = statement.query_row(params![message.0, url], request_id);
    Ok(id.optional()?)
}

/// The id that callers get for a message that is finished: they are answered at once, and nobody
/// has to be told later. One for all of them, so that asking again writes nothing.
fn finished_request(
    transaction: &Connection,
    new: &NewRequest,
    message: MessageId,
    now: Now,
) -> Result<RequestId> {
    let mut statement = transaction
        .prepare_cached("SELECT id FROM requests WHERE message = ?1 AND callback IS NULL")?;
    let id = statement.query_row([message.0], request_id).optional()?;
    if let Some(id) = id {
        return Ok(id);
    }
    insert(transaction, new, None, message, false, now)?;
    Ok(new.id.clone())
}

pub(super) fn request_id(row: &Row<'_>) -> rusqlite::Result<RequestId> {
    let text: String = row.get(0)?;
    RequestId::parse(&text).ok_or(rusqlite::Error::InvalidQuery)
}
