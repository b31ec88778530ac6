//! The queues of callers.

use crate::Result;
use crate::rules::{CallerQueue, Waiting};
use deadpool_postgres::{Client, GenericClient};
use tokio_postgres::Row;

/// Selects the first message of each queue among those without an attempt, and among those with one. Each step
/// of the recursions finds the next owner in the index, however many messages the queues have.
const QUEUES: &str = "WITH RECURSIVE
  fresh_owners AS (
    (SELECT owner FROM bulkhead_messages
     WHERE state = 'pending' AND session IS NULL AND tries = 0 ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT m.owner FROM bulkhead_messages m
            WHERE m.state = 'pending' AND m.session IS NULL AND m.tries = 0 AND m.owner > o.owner
            ORDER BY m.owner LIMIT 1)
    FROM fresh_owners o WHERE o.owner IS NOT NULL),
  tried_owners AS (
    (SELECT owner FROM bulkhead_messages
     WHERE state = 'pending' AND session IS NULL AND tries > 0 ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT m.owner FROM bulkhead_messages m
            WHERE m.state = 'pending' AND m.session IS NULL AND m.tries > 0 AND m.owner > o.owner
            ORDER BY m.owner LIMIT 1)
    FROM tried_owners o WHERE o.owner IS NOT NULL),
  owners AS (
    SELECT owner FROM fresh_owners WHERE owner IS NOT NULL
    UNION SELECT owner FROM tried_owners WHERE owner IS NOT NULL)
  SELECT owners.owner, fresh.due_at AS fresh_at, fresh.id AS fresh, tried.due_at AS tried_at,
    tried.id AS tried
  FROM owners
    LEFT JOIN LATERAL (
      SELECT m.due_at, m.id FROM bulkhead_messages m
      WHERE m.state = 'pending' AND m.session IS NULL AND m.tries = 0 AND m.owner = owners.owner
      ORDER BY m.due_at, m.id LIMIT 1) AS fresh ON true
    LEFT JOIN LATERAL (
      SELECT m.due_at, m.id FROM bulkhead_messages m
      WHERE m.state = 'pending' AND m.session IS NULL AND m.tries > 0 AND m.owner = owners.owner
      ORDER BY m.due_at, m.id LIMIT 1) AS tried ON true";

/// Maximum number of messages of a queue that are counted to compare two queues. If both have more, the message
/// stays in its queue.
const COMPARED_MAX: i64 = 1000;

/// Counts the messages that precede a message `m` in the queue of an owner.
macro_rules! preceding {
    ($owner:literal) => {
        concat!(
            "((SELECT count(*) FROM (SELECT FROM bulkhead_messages o WHERE o.owner = ",
            $owner,
            "   AND o.state = 'pending' AND o.session IS NULL AND o.tries = 0
                AND (m.tries > 0 OR o.due_at < m.due_at) LIMIT $3) AS fresh)
            + (SELECT count(*) FROM (SELECT FROM bulkhead_messages o WHERE o.owner = ",
            $owner,
            "   AND o.state = 'pending' AND o.session IS NULL AND o.tries > 0
                AND m.tries > 0 AND o.due_at < m.due_at LIMIT $3) AS tried))"
        )
    };
}

/// Moves a message to the queue of another owner if fewer messages precede it there.
const MOVE: &str = concat!(
    "UPDATE bulkhead_messages m SET owner = $2
     WHERE m.id = $1 AND m.state = 'pending' AND m.session IS NULL AND m.owner <> $2 AND ",
    preceding!("$2"),
    " < ",
    preceding!("m.owner")
);

/// Returns the queues with a message that has no active attempt.
pub(super) async fn queues(client: &impl GenericClient) -> Result<Vec<CallerQueue>> {
    let statement = client.prepare_cached(QUEUES).await?;
    let rows = client.query(&statement, &[]).await?;
    let queues = rows.iter().map(|row| {
        Ok(CallerQueue {
            owner: row.try_get("owner")?,
            fresh: waiting(row, "fresh_at", "fresh")?,
            tried: waiting(row, "tried_at", "tried")?,
        })
    });
    queues.collect()
}

fn waiting(row: &Row, due_at: &str, message: &str) -> Result<Option<Waiting>> {
    let due_at: Option<i64> = row.try_get(due_at)?;
    let message: Option<i64> = row.try_get(message)?;
    let found = due_at.zip(message);
    Ok(found.map(|(due_at, message)| Waiting { due_at, message }))
}

/// Returns the owner whose queue had the last turn.
pub(super) async fn last_owner(client: &impl GenericClient) -> Result<String> {
    let statement = client
        .prepare_cached("SELECT last_owner FROM bulkhead_meta")
        .await?;
    Ok(client.query_one(&statement, &[]).await?.try_get(0)?)
}

/// Records that the queue of this owner had a turn. The caller holds the lock of claims.
pub(super) async fn record_turn(client: &impl GenericClient, owner: &str) -> Result<()> {
    let statement = client
        .prepare_cached("UPDATE bulkhead_meta SET last_owner = $1 WHERE last_owner <> $1")
        .await?;
    client.execute(&statement, &[&owner]).await?;
    Ok(())
}

/// Moves a message that another owner has requested into that owner's queue, if fewer messages precede it there.
pub(super) async fn move_message(
    client: &Client,
    message: i64,
    owner: &str,
) -> std::result::Result<(), tokio_postgres::Error> {
    let statement = client.prepare_cached(MOVE).await?;
    client
        .execute(&statement, &[&message, &owner, &COMPARED_MAX])
        .await?;
    Ok(())
}
