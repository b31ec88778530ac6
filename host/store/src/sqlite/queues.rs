//! The queues of callers.

use crate::rules::{CallerQueue, Waiting};
use crate::{MessageId, Owner, Result};
use rusqlite::{Connection, Row, params};

/// Selects the first message of each queue among those without an attempt, and among those with one. Each step
/// of the recursions finds the next owner in the index, however many messages the queues have.
const QUEUES: &str = "WITH RECURSIVE
  fresh_owners (owner) AS (
    SELECT (SELECT owner FROM messages INDEXED BY messages_fresh
      WHERE state = 'pending' AND leased_until IS NULL AND tries = 0 ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT m.owner FROM messages m INDEXED BY messages_fresh
      WHERE state = 'pending' AND leased_until IS NULL AND tries = 0 AND m.owner > o.owner
      ORDER BY m.owner LIMIT 1)
    FROM fresh_owners o WHERE o.owner IS NOT NULL),
  tried_owners (owner) AS (
    SELECT (SELECT owner FROM messages INDEXED BY messages_tried
      WHERE state = 'pending' AND leased_until IS NULL AND tries > 0 ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT m.owner FROM messages m INDEXED BY messages_tried
      WHERE state = 'pending' AND leased_until IS NULL AND tries > 0 AND m.owner > o.owner
      ORDER BY m.owner LIMIT 1)
    FROM tried_owners o WHERE o.owner IS NOT NULL),
  owners (owner) AS (SELECT owner FROM fresh_owners UNION SELECT owner FROM tried_owners),
  firsts (owner, fresh, tried) AS (
    SELECT owner,
      (SELECT id FROM messages m INDEXED BY messages_fresh
       WHERE state = 'pending' AND leased_until IS NULL AND tries = 0 AND m.owner = owners.owner
       ORDER BY due_at LIMIT 1),
      (SELECT id FROM messages m INDEXED BY messages_tried
       WHERE state = 'pending' AND leased_until IS NULL AND tries > 0 AND m.owner = owners.owner
       ORDER BY due_at LIMIT 1)
    FROM owners WHERE owner IS NOT NULL)
SELECT firsts.owner, f.due_at, f.id, t.due_at, t.id FROM firsts
  LEFT JOIN messages f ON f.id = firsts.fresh LEFT JOIN messages t ON t.id = firsts.tried";

/// Maximum number of messages of a queue that are counted to compare two queues. If both have more, the message
/// stays in its queue.
const COMPARED_MAX: u32 = 1000;

/// Counts the messages that precede a message `m` in the queue of an owner.
macro_rules! preceding {
    ($owner:literal) => {
        concat!(
            "((SELECT count(*) FROM (SELECT 1 FROM messages o INDEXED BY messages_fresh
                WHERE o.owner = ",
            $owner,
            "     AND o.state = 'pending' AND o.leased_until IS NULL AND o.tries = 0
                  AND (m.tries > 0 OR o.due_at < m.due_at) LIMIT ?3))
            + (SELECT count(*) FROM (SELECT 1 FROM messages o INDEXED BY messages_tried
                WHERE o.owner = ",
            $owner,
            "     AND o.state = 'pending' AND o.leased_until IS NULL AND o.tries > 0
                  AND m.tries > 0 AND o.due_at < m.due_at LIMIT ?3)))"
        )
    };
}

/// Moves a message to the queue of another owner if fewer messages precede it there.
const MOVE: &str = concat!(
    "UPDATE messages AS m SET owner = ?2
     WHERE m.id = ?1 AND m.state = 'pending' AND m.leased_until IS NULL AND m.owner <> ?2 AND ",
    preceding!("?2"),
    " < ",
    preceding!("m.owner")
);

/// Returns the queues with a message that has no active attempt.
pub(super) fn queues(connection: &Connection) -> Result<Vec<CallerQueue>> {
    let mut statement = connection.prepare_cached(QUEUES)?;
    let queues = statement.query_map((), |row| {
        Ok(CallerQueue {
            owner: row.get(0)?,
            fresh: waiting(row, 1)?,
            tried: waiting(row, 3)?,
        })
    })?;
    Ok(queues.collect::<rusqlite::Result<_>>()?)
}

fn waiting(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Waiting>> {
    let due_at: Option<i64> = row.get(at)?;
    let message: Option<i64> = row.get(at + 1)?;
    let found = due_at.zip(message);
    Ok(found.map(|(due_at, message)| Waiting { due_at, message }))
}

/// Returns the latest time at which a message without an active attempt is due, or 0.
pub(super) fn latest_due(connection: &Connection) -> Result<i64> {
    let mut latest = 0;
    for queue in queues(connection)? {
        for statement in [
            "SELECT due_at FROM messages INDEXED BY messages_fresh
             WHERE state = 'pending' AND leased_until IS NULL AND tries = 0 AND owner = ?1
             ORDER BY due_at DESC LIMIT 1",
            "SELECT due_at FROM messages INDEXED BY messages_tried
             WHERE state = 'pending' AND leased_until IS NULL AND tries > 0 AND owner = ?1
             ORDER BY due_at DESC LIMIT 1",
        ] {
            let mut statement = connection.prepare_cached(statement)?;
            let mut rows = statement.query([&queue.owner])?;
            if let Some(row) = rows.next()? {
                latest = latest.max(row.get(0)?);
            }
        }
    }
    Ok(latest)
}

/// Returns the owner whose queue had the last turn.
pub(super) fn last_owner(connection: &Connection) -> Result<String> {
    let mut statement = connection.prepare_cached("SELECT last_owner FROM meta")?;
    Ok(statement.query_row((), |row| row.get(0))?)
}

/// Records that the queue of this owner had a turn.
pub(super) fn record_turn(transaction: &Connection, owner: &str) -> Result<()> {
    let mut statement =
        transaction.prepare_cached("UPDATE meta SET last_owner = ?1 WHERE last_owner <> ?1")?;
    statement.execute([owner])?;
    Ok(())
}

/// Moves a message that another owner has requested into that owner's queue, if fewer messages precede it there.
pub(super) fn move_message(
    transaction: &Connection,
    message: MessageId,
    owner: Option<&Owner>,
) -> Result<()> {
    let mut statement = transaction.prepare_cached(MOVE)?;
    statement.execute(params![message.0, Owner::column(owner), COMPARED_MAX])?;
    Ok(())
}
