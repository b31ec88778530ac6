//! Requests and their messages.

use super::Replica;
use super::errors::is_raced;
use super::queues;
use super::sessions::{Counted, count};
use crate::{
    Accepted, BacklogMax, MessageState, NewRequest, Owner, RequestId, Result, TraceParent,
    Unavailable,
};
use deadpool_postgres::Client;
use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;

/// Maximum number of attempts to store a request. An attempt fails if another replica stores the
/// same message at the same time.
const RACES_MAX: u32 = 10;

/// Finds the message and this caller's request for it, or stores both. A single statement needs one
/// round trip and one wait for the disk. If two transactions store the same message at once, they
/// conflict on its digest: the second waits for the first, stores nothing, and is repeated.
///
/// $6 and $11 are the digests of the request with and without its callback ([`request_digest`]).
///
/// The counts are written last, because nothing may wait while that lock is held.
const PLACE: &str = "WITH
  clock AS MATERIALIZED (SELECT bulkhead_clock_ms() AS wall, shift_ms FROM bulkhead_meta),
  known AS MATERIALIZED (
    SELECT m.id, m.state, m.signature, m.error,
      (SELECT r.id FROM bulkhead_requests r
       WHERE r.message = m.id AND m.state = 'pending' AND r.callback_digest = $6) AS same,
      (SELECT r.shared FROM bulkhead_requests r
       WHERE r.message = m.id AND m.state = 'pending' AND r.callback_digest = $6) AS shared,
      CASE WHEN $11::bytea IS NULL
        THEN (SELECT r.id FROM bulkhead_requests r
              WHERE r.message = m.id AND r.callback_digest IS NULL)
        ELSE (SELECT r.id FROM bulkhead_requests r
              WHERE r.message = m.id AND r.callback_digest = $11)
      END AS silent,
      (SELECT count(*) FROM
        (SELECT FROM bulkhead_requests r
         WHERE r.message = m.id AND r.owner = $10 LIMIT $9) AS counted) AS callers
    FROM bulkhead_messages m WHERE m.digest = $1),
  room AS MATERIALIZED (
    SELECT sum(messages_pending) < $3::bigint AS there FROM bulkhead_counts),
  owner_room AS MATERIALIZED (
    SELECT $12::bigint IS NULL OR $10 = '' OR $12 > (SELECT count(*) FROM
      (SELECT FROM bulkhead_requests r
       WHERE r.owner = $10 AND r.owner <> '' AND r.state = 'pending' LIMIT $12) AS counted) AS there),
  placed AS (
    INSERT INTO bulkhead_messages (digest, text, owner, state, created_at, waits_since, due_at)
    SELECT $1, $2, $10, 'pending', wall, wall + shift_ms, wall + shift_ms FROM clock, room, owner_room
    WHERE room.there AND owner_room.there AND NOT EXISTS (SELECT FROM known)
    ON CONFLICT (digest) DO NOTHING
    RETURNING id),
  requested AS (
    INSERT INTO bulkhead_requests
      (id, message, owner, callback, callback_digest, host, traceparent, created_at, state)
    SELECT $4, placed.id, $10, $5, $6, $7, $8, clock.wall, 'pending' FROM placed, clock
    RETURNING message),
  counted AS (
    UPDATE bulkhead_counts SET messages_pending = messages_pending + 1
    WHERE shard = pg_backend_pid() % 64 AND EXISTS (SELECT FROM requested))
  SELECT (SELECT there FROM room) AS room, (SELECT there FROM owner_room) AS owner_room,
    EXISTS (SELECT FROM requested) AS placed,
    known.id, known.state, known.signature, known.error, known.same, known.shared, known.silent,
    known.callers
  FROM (SELECT) AS one LEFT JOIN known ON true";

/// Records that two callers share a pending request. The statement waits if the request is being
/// finished, and then changes nothing.
const SHARE: &str =
    "UPDATE bulkhead_requests SET shared = true WHERE id = $1 AND state = 'pending'";

/// Joins a pending message. The lock prevents its attempt from finishing until the request is
/// stored and can be notified. If the message is already finished, nothing is stored.
const JOIN: &str = "INSERT INTO bulkhead_requests
    (id, message, owner, callback, callback_digest, host, traceparent, created_at, state)
  SELECT $2, id, $7, $3, $4, $5, $6, bulkhead_clock_ms(), 'pending' FROM
    (SELECT id FROM bulkhead_messages WHERE id = $1 AND state = 'pending' FOR SHARE) AS waiting
  ON CONFLICT DO NOTHING";

/// Stores a request without a callback for a finished message.
const SILENT: &str = "INSERT INTO bulkhead_requests
    (id, message, owner, callback_digest, created_at, state, done_at)
  SELECT $2, id, $3, $4, bulkhead_clock_ms(), state, ended_at FROM
    (SELECT id, state, ended_at FROM bulkhead_messages
     WHERE id = $1 AND state <> 'pending' FOR SHARE) AS finished
  ON CONFLICT DO NOTHING";

pub(super) async fn accept(
    client: &mut Client,
    new: NewRequest,
    max: BacklogMax,
) -> Result<Accepted> {
    let digest = digest(&new.message);
    let callback = new.callback.as_ref();
    let url = callback.map(|callback| callback.url.as_str());
    let host = callback.map(|callback| callback.host.as_str());
    let owner = Owner::column(new.owner.as_ref());
    let own_digest = request_digest(owner, url);
    let silent_digest = request_digest(owner, None);
    let trace = new.trace.as_ref().map(TraceParent::as_str);
    let messages_max = i64::try_from(max.messages).unwrap_or(i64::MAX);
    let callers_max = i64::from(max.callers);
    let owned_max = max.owned.map(i64::from);
    let id = new.id.as_str();
    let place = client.prepare_cached(PLACE).await?;
    for _race in 0..RACES_MAX {
        let text = new.message.as_bytes();
        let placed = client
            .query_one(
                &place,
                &[
                    &digest,
                    &text,
                    &messages_max,
                    &id,
                    &url,
                    &own_digest,
                    &host,
                    &trace,
                    &callers_max,
                    &owner,
                    &silent_digest,
                    &owned_max,
                ],
            )
            .await;
        let row = match placed {
            Ok(row) => row,
            Err(error) if is_raced(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        if row.try_get("placed")? {
            return Ok(Accepted::Pending(new.id));
        }
        let has_owner_room = row.try_get::<_, bool>("owner_room")?;
        let Some(message) = row.try_get::<_, Option<i64>>("id")? else {
            if !has_owner_room {
                return Ok(Accepted::OwnerFull);
            }
            if row.try_get("room")? {
                continue;
            }
            return Ok(Accepted::BacklogFull);
        };
        let state = state(&row)?;
        let silent = url.is_none() || state != MessageState::Pending;
        let same = request_id(&row, if silent { "silent" } else { "same" })?;
        let shared = row.try_get::<_, Option<bool>>("shared")?.unwrap_or(silent);
        let joined = match (&same, &state) {
            (Some(same), _) if !shared => {
                let share = client.prepare_cached(SHARE).await?;
                client.execute(&share, &[&same.as_str()]).await
            }
            // The request gets a notification in any case, or needs none.
            (Some(_), _) => Ok(1),
            (None, MessageState::Pending) => {
                if !has_owner_room {
                    return Ok(Accepted::OwnerFull);
                }
                if row.try_get::<_, i64>("callers")? >= callers_max {
                    return Ok(Accepted::CallersFull);
                }
                join(client, message, &new, own_digest.as_deref()).await
            }
            (None, _) => {
                let silent = client.prepare_cached(SILENT).await?;
                client
                    .execute(&silent, &[&message, &id, &owner, &silent_digest])
                    .await
            }
        };
        match joined {
            // The message was finished or removed meanwhile, or the same request was stored.
            Ok(0) => {}
            Ok(_) => {
                let id = same.unwrap_or(new.id);
                return Ok(match state {
                    MessageState::Pending => Accepted::Pending(id),
                    MessageState::Signed(signature) => Accepted::Signed { id, signature },
                    MessageState::Failed(error) => Accepted::Failed { id, error },
                });
            }
            Err(error) if is_raced(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Unavailable::Raced.into())
}

/// Stores a request for a pending message, and returns the number of stored requests. Moves the message into
/// the caller's queue if fewer messages precede it there. These are two transactions: if only the first happens, the
/// message stays in the other queue.
async fn join(
    client: &Client,
    message: i64,
    new: &NewRequest,
    digest: Option<&[u8]>,
) -> std::result::Result<u64, tokio_postgres::Error> {
    let callback = new.callback.as_ref();
    let url = callback.map(|callback| callback.url.as_str());
    let host = callback.map(|callback| callback.host.as_str());
    let trace = new.trace.as_ref().map(TraceParent::as_str);
    let owner = Owner::column(new.owner.as_ref());
    let id = new.id.as_str();
    let join = client.prepare_cached(JOIN).await?;
    let joined = client
        .execute(
            &join,
            &[&message, &id, &url, &digest, &host, &trace, &owner],
        )
        .await?;
    if joined > 0 {
        queues::move_message(client, message, owner).await?;
    }
    Ok(joined)
}

/// Returns the digest of the owner and the callback. Requests for one message with equal digests are the same. The
/// digest is `None` for a request with neither. For a request without an owner, it is the digest of version 2.
fn request_digest(owner: &str, url: Option<&str>) -> Option<Vec<u8>> {
    match (owner, url) {
        ("", None) => None,
        ("", Some(url)) => Some(digest(url)),
        (owner, url) => Some(digest(&format!("{owner}\0{}", url.unwrap_or_default()))),
    }
}

pub(super) async fn signature(client: &mut Client, message: String) -> Result<Option<String>> {
    let statement = client
        .prepare_cached("SELECT signature FROM bulkhead_messages WHERE digest = $1")
        .await?;
    let found = client.query_opt(&statement, &[&digest(&message)]).await?;
    found.map_or(Ok(None), |row| Ok(row.try_get(0)?))
}

impl Replica {
    /// Deletes finished requests with their notifications. A message is deleted only after a lock
    /// on it has shown that no request is joining it. A later request does not find the message,
    /// and is stored again.
    pub(super) async fn sweep(
        &self,
        client: &mut Client,
        retention_ms: u64,
        max: u32,
    ) -> Result<u64> {
        let look = self.look(client).await?;
        let before = look.now.saturating_sub_unsigned(retention_ms);
        let transaction = client.transaction().await?;
        let statement = transaction
            .prepare_cached(
                "SELECT number, message FROM bulkhead_requests
                 WHERE done_at < $1 ORDER BY done_at LIMIT $2 FOR UPDATE SKIP LOCKED",
            )
            .await?;
        let rows = transaction
            .query(&statement, &[&before, &i64::from(max)])
            .await?;
        let column = |name| rows.iter().map(|row| row.try_get(name)).collect();
        let requests: std::result::Result<Vec<i64>, _> = column("number");
        let messages: std::result::Result<Vec<i64>, _> = column("message");
        let (requests, messages) = (requests?, messages?);
        if requests.is_empty() {
            return Ok(0);
        }
        let statement = transaction
            .prepare_cached(
                "SELECT id FROM bulkhead_messages WHERE id = ANY ($1) ORDER BY id FOR UPDATE",
            )
            .await?;
        transaction.query(&statement, &[&messages]).await?;
        let statement = transaction
            .prepare_cached(
                "DELETE FROM bulkhead_notifications WHERE request = ANY ($1)
                 RETURNING state = 'parked'",
            )
            .await?;
        let removed = transaction.query(&statement, &[&requests]).await?;
        let mut parked = 0;
        for row in &removed {
            parked += i64::from(row.try_get::<_, bool>(0)?);
        }
        for (part, all) in [
            (
                "DELETE FROM bulkhead_requests WHERE number = ANY ($1)",
                &requests,
            ),
            (
                "DELETE FROM bulkhead_messages m WHERE id = ANY ($1)
                   AND NOT EXISTS (SELECT FROM bulkhead_requests r WHERE r.message = m.id)",
                &messages,
            ),
        ] {
            let statement = transaction.prepare_cached(part).await?;
            transaction.execute(&statement, &[all]).await?;
        }
        let removed = Counted {
            notifications_parked: -parked,
            ..Counted::default()
        };
        count(&transaction, removed).await?;
        transaction.commit().await?;
        Ok(requests.len() as u64)
    }
}

pub(super) fn digest(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

/// Replaces U+0000, which a PostgreSQL text cannot contain.
pub(super) fn text(value: &str) -> String {
    value.replace('\0', "\u{fffd}")
}

pub(super) fn message(row: &Row) -> Result<String> {
    let bytes: Vec<u8> = row.try_get("text")?;
    String::from_utf8(bytes).map_err(|_| Unavailable::Corrupt("a message is not UTF-8").into())
}

pub(super) fn state(row: &Row) -> Result<MessageState> {
    // The schema allows no other state.
    Ok(match row.try_get("state")? {
        "signed" => MessageState::Signed(row.try_get("signature")?),
        "failed" => MessageState::Failed(row.try_get("error")?),
        _ => MessageState::Pending,
    })
}

/// Returns the trace of a request as it was stored.
pub(super) fn trace(row: &Row) -> Result<Option<TraceParent>> {
    let stored: Option<&str> = row.try_get("traceparent")?;
    Ok(stored.and_then(TraceParent::parse))
}

pub(super) fn request_id(row: &Row, column: &str) -> Result<Option<RequestId>> {
    let Some(id) = row.try_get::<_, Option<&str>>(column)? else {
        return Ok(None);
    };
    let id = RequestId::parse(id).ok_or(Unavailable::Corrupt("a request has an invalid id"))?;
    Ok(Some(id))
}
