//! Notifications of callers about the results of their requests.

use super::Replica;
use super::errors::is_raced;
use super::requests::{message, request_id, state, text, trace};
use super::sessions::{Counted, count};
use super::slots::RACES_MAX;
use crate::rules;
use crate::{
    Callback, Claim, MessageState, Notification, NotificationLease, NotificationOutcome, Now,
    Redelivery, RequestId, Result, StoreError, Unavailable, UnixMillis,
};
use deadpool_postgres::Client;
use tokio_postgres::Row;

/// Number of the oldest due notifications among which those for hosts that are not busy are
/// searched. If too few are found, the hosts are searched one by one.
const OLDEST: i64 = 1000;

/// $1: busy hosts, $2: latest due time, $3: maximum number.
const NEXT: &str = "SELECT request, due_at FROM
    (SELECT request, due_at, host FROM bulkhead_notifications
     WHERE state = 'pending' AND session IS NULL AND due_at <= $2
     ORDER BY due_at, host, request LIMIT $4) AS oldest
  WHERE host <> ALL ($1) ORDER BY due_at, host, request LIMIT $3";

/// Finds the same, however many notifications wait for a busy host. Each step of the recursion
/// finds the next host in the index.
const NEXT_BY_HOST: &str = "WITH RECURSIVE hosts AS (
    (SELECT host FROM bulkhead_notifications
     WHERE state = 'pending' AND session IS NULL ORDER BY host LIMIT 1)
    UNION ALL
    SELECT (SELECT n.host FROM bulkhead_notifications n
            WHERE n.state = 'pending' AND n.session IS NULL AND n.host > hosts.host
            ORDER BY n.host LIMIT 1)
    FROM hosts WHERE hosts.host IS NOT NULL)
  SELECT next.request, next.due_at FROM hosts CROSS JOIN LATERAL
    (SELECT n.request, n.due_at FROM bulkhead_notifications n
     WHERE n.state = 'pending' AND n.session IS NULL AND n.host = hosts.host AND n.due_at <= $2
     ORDER BY n.due_at, n.request LIMIT $3) AS next
  WHERE hosts.host <> ALL ($1)
  ORDER BY next.due_at, hosts.host, next.request LIMIT $3";

/// Skips notifications that another replica claims at the same time.
const TAKE: &str = "UPDATE bulkhead_notifications n
  SET session = $2, leased_at = $3, lease = n.lease + 1,
      first_try_at = coalesce(n.first_try_at, bulkhead_clock_ms())
  FROM (SELECT request FROM bulkhead_notifications
        WHERE request = ANY ($1) AND state = 'pending' AND session IS NULL AND due_at <= $4
        ORDER BY due_at, host, request LIMIT $5
        FOR NO KEY UPDATE SKIP LOCKED) AS taken
    JOIN bulkhead_requests r ON r.number = taken.request
    JOIN bulkhead_messages m ON m.id = r.message
  WHERE n.request = taken.request
  RETURNING n.due_at, n.lease, n.host, n.tries, n.first_try_at, r.id, r.callback, r.traceparent,
    m.text, m.state, m.signature, m.error, m.finished_at";

impl Replica {
    pub(super) async fn claim_notifications(
        &self,
        client: &mut Client,
        max: u32,
        busy: Vec<String>,
        now: Now,
    ) -> Result<Claim<Vec<Notification>>> {
        for _race in 0..RACES_MAX {
            let session = self.session(client).await?;
            let look = self.look(client).await?;
            // More than `max` are read, because another replica may claim the first of them.
            let wanted = i64::from(max).saturating_mul(2);
            let next = next(client, &busy, look.now, wanted).await?;
            if next.is_empty() {
                let earliest = self::next(client, &busy, i64::MAX, 1).await?;
                let at = earliest.first().map(|(_, due_at)| *due_at);
                return Ok(rules::retry_after(at, look.now));
            }
            let requests: Vec<i64> = next.into_iter().map(|(request, _)| request).collect();
            let statement = client.prepare_cached(TAKE).await?;
            let taken = client
                .query(
                    &statement,
                    &[&requests, &session, &now.boot.0, &look.now, &i64::from(max)],
                )
                .await;
            match taken {
                Ok(rows) if rows.is_empty() => {}
                Ok(rows) => return notifications(&rows).map(Claim::Acquired),
                // Another replica has treated this session as dead.
                Err(error) if is_raced(&error) => self.forget_session(session),
                Err(error) => return Err(error.into()),
            }
        }
        // Other replicas claim the same notifications.
        Ok(Claim::RetryAfter { after_ms: Some(0) })
    }

    /// The request is locked before its notification, as in all transactions that lock both.
    pub(super) async fn finish_notification(
        &self,
        client: &mut Client,
        lease: NotificationLease,
        outcome: NotificationOutcome,
    ) -> Result<()> {
        let look = self.look(client).await?;
        let (state, due_at, last_error) = match &outcome {
            NotificationOutcome::Delivered => ("delivered", None, None),
            NotificationOutcome::Retry { after_ms, why } => {
                let due_at = rules::after(look.now, *after_ms);
                ("pending", Some(due_at), Some(text(why)))
            }
            NotificationOutcome::Parked { why } => ("parked", None, Some(text(why))),
        };
        let transaction = client.transaction().await?;
        let statement = transaction
            .prepare_cached(
                "SELECT r.number, m.ended_at FROM bulkhead_requests r
                   JOIN bulkhead_messages m ON m.id = r.message
                 WHERE r.id = $1 FOR NO KEY UPDATE OF r",
            )
            .await?;
        let found = transaction
            .query_opt(&statement, &[&lease.request.as_str()])
            .await?;
        let row = found.ok_or(StoreError::LeaseLost)?;
        let number: i64 = row.try_get("number")?;
        let statement = transaction
            .prepare_cached(
                "UPDATE bulkhead_notifications
                 SET state = $3, due_at = $4, last_error = $5, lease = lease + 1, session = NULL,
                     tries = tries + 1
                 WHERE request = $1 AND lease = $2 AND state = 'pending'",
            )
            .await?;
        let changed = transaction
            .execute(
                &statement,
                &[&number, &lease.token, &state, &due_at, &last_error],
            )
            .await?;
        super::attempts::one(changed)?;
        let done = match outcome {
            NotificationOutcome::Retry { .. } => None,
            NotificationOutcome::Delivered => {
                let ended_at: Option<i64> = row.try_get("ended_at")?;
                Some((ended_at, 0))
            }
            NotificationOutcome::Parked { .. } => Some((Some(look.now), 1)),
        };
        if let Some((done_at, parked)) = done {
            set_done(&transaction, number, done_at).await?;
            let counted = Counted {
                notifications_pending: -1,
                notifications_parked: parked,
                ..Counted::default()
            };
            count(&transaction, counted).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    pub(super) async fn redeliver(
        &self,
        client: &mut Client,
        request: RequestId,
    ) -> Result<Redelivery> {
        let look = self.look(client).await?;
        let transaction = client.transaction().await?;
        let statement = transaction
            .prepare_cached("SELECT number FROM bulkhead_requests WHERE id = $1 FOR NO KEY UPDATE")
            .await?;
        let found = transaction
            .query_opt(&statement, &[&request.as_str()])
            .await?;
        let Some(row) = found else {
            return Ok(Redelivery::NotFound);
        };
        let number: i64 = row.try_get(0)?;
        let statement = transaction
            .prepare_cached(
                "SELECT state, due_at, first_try_at FROM bulkhead_notifications WHERE request = $1
                 FOR NO KEY UPDATE",
            )
            .await?;
        let Some(row) = transaction.query_opt(&statement, &[&number]).await? else {
            return Ok(Redelivery::NotFound);
        };
        let events = [(row.try_get(1)?, look.now), (row.try_get(2)?, look.now)];
        if let Some(too_soon) = rules::redelivery_too_soon(events) {
            return Ok(too_soon);
        }
        let state: &str = row.try_get(0)?;
        let counted = Counted {
            notifications_pending: i64::from(state != "pending"),
            notifications_parked: -i64::from(state == "parked"),
            ..Counted::default()
        };
        let statement = transaction
            .prepare_cached(
                "UPDATE bulkhead_notifications
                 SET state = 'pending', due_at = $2, tries = 0, first_try_at = NULL,
                     lease = lease + 1, session = NULL
                 WHERE request = $1",
            )
            .await?;
        transaction
            .execute(&statement, &[&number, &look.now])
            .await?;
        set_done(&transaction, number, None).await?;
        count(&transaction, counted).await?;
        transaction.commit().await?;
        Ok(Redelivery::Due)
    }
}

async fn next(client: &Client, busy: &[String], until: i64, max: i64) -> Result<Vec<(i64, i64)>> {
    let statement = client.prepare_cached(NEXT).await?;
    let mut rows = client
        .query(&statement, &[&busy, &until, &max, &OLDEST])
        .await?;
    if i64::try_from(rows.len()).is_ok_and(|found| found < max.min(OLDEST)) && !busy.is_empty() {
        let statement = client.prepare_cached(NEXT_BY_HOST).await?;
        rows = client.query(&statement, &[&busy, &until, &max]).await?;
    }
    let rows = rows
        .iter()
        .map(|row| Ok((row.try_get("request")?, row.try_get("due_at")?)));
    rows.collect()
}

async fn set_done(
    client: &impl deadpool_postgres::GenericClient,
    request: i64,
    done_at: Option<i64>,
) -> Result<()> {
    let statement = client
        .prepare_cached("UPDATE bulkhead_requests SET done_at = $2 WHERE number = $1")
        .await?;
    client.execute(&statement, &[&request, &done_at]).await?;
    Ok(())
}

fn notifications(rows: &[Row]) -> Result<Vec<Notification>> {
    let mut claimed = Vec::with_capacity(rows.len());
    for row in rows {
        let order: (i64, String) = (row.try_get("due_at")?, row.try_get("host")?);
        claimed.push((order, notification(row)?));
    }
    claimed.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(claimed.into_iter().map(|(_, claimed)| claimed).collect())
}

fn notification(row: &Row) -> Result<Notification> {
    let corrupt = || Unavailable::Corrupt("a notification has no finished message");
    let tries: i32 = row.try_get("tries")?;
    Ok(Notification {
        lease: NotificationLease {
            request: request_id(row, "id")?.ok_or_else(corrupt)?,
            token: row.try_get("lease")?,
        },
        callback: Callback {
            url: row.try_get("callback")?,
            host: row.try_get("host")?,
        },
        message: message(row)?,
        outcome: match state(row)? {
            MessageState::Signed(signature) => Ok(signature),
            MessageState::Failed(error) => Err(error),
            // A notification is created when its message is finished.
            MessageState::Pending => return Err(corrupt().into()),
        },
        finished_at: UnixMillis(row.try_get("finished_at")?),
        number: tries.unsigned_abs().saturating_add(1),
        first_attempt_at: UnixMillis(row.try_get("first_try_at")?),
        trace: trace(row)?,
    })
}
