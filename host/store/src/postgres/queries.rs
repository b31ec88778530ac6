//! Queries for the API and for statistics.

use super::Replica;
use super::requests::{message, request_id, state};
use crate::{
    NotificationState, NotificationView, Now, RequestFilter, RequestId, RequestView, Result,
    StoreStats, Unavailable, UnixMillis,
};
use deadpool_postgres::Client;
use tokio_postgres::Row;

/// Selects all columns of a view, of a request `r` and its message.
macro_rules! view {
    ($from:literal) => {
        concat!(
            "SELECT r.id, m.state, m.signature, m.error, m.text, m.tries, r.created_at,
               r.callback IS NOT NULL AND r.state = 'pending' AS awaited,
               n.state AS notified, n.tries AS deliveries, n.last_error,
               n.due_at - bulkhead_clock_ms() - (SELECT shift_ms FROM bulkhead_meta) AS due_ms ",
            $from
        )
    };
}

const ONE: &str = view!(
    "FROM bulkhead_requests r JOIN bulkhead_messages m ON m.id = r.message
       LEFT JOIN bulkhead_notifications n ON n.request = r.number WHERE r.id = $1"
);
const ALL: &str = view!(
    "FROM bulkhead_requests r JOIN bulkhead_messages m ON m.id = r.message
       LEFT JOIN bulkhead_notifications n ON n.request = r.number
     ORDER BY r.number DESC LIMIT $1"
);
const PENDING: &str = view!(
    "FROM bulkhead_requests r JOIN bulkhead_messages m ON m.id = r.message
       LEFT JOIN bulkhead_notifications n ON n.request = r.number
     WHERE r.state = 'pending' ORDER BY r.number DESC LIMIT $1"
);
const FAILED: &str = view!(
    "FROM bulkhead_requests r JOIN bulkhead_messages m ON m.id = r.message
       LEFT JOIN bulkhead_notifications n ON n.request = r.number
     WHERE r.state = 'failed' ORDER BY r.number DESC LIMIT $1"
);
const PARKED: &str = view!(
    "FROM bulkhead_notifications n JOIN bulkhead_requests r ON r.number = n.request
       JOIN bulkhead_messages m ON m.id = r.message
     WHERE n.state = 'parked' ORDER BY n.request DESC LIMIT $1"
);

pub(super) async fn request(
    client: &mut Client,
    id: RequestId,
    now: Now,
) -> Result<Option<RequestView>> {
    let statement = client.prepare_cached(ONE).await?;
    let found = client.query_opt(&statement, &[&id.as_str()]).await?;
    found.map(|row| view(&row, now)).transpose()
}

pub(super) async fn list(
    client: &mut Client,
    which: RequestFilter,
    max: u32,
    now: Now,
) -> Result<Vec<RequestView>> {
    let statement = match which {
        RequestFilter::All => ALL,
        RequestFilter::Pending => PENDING,
        RequestFilter::Failed => FAILED,
        RequestFilter::Parked => PARKED,
    };
    let statement = client.prepare_cached(statement).await?;
    let rows = client.query(&statement, &[&i64::from(max)]).await?;
    rows.iter().map(|row| view(row, now)).collect()
}

impl Replica {
    /// Returns exact statistics, at a cost that does not depend on the counts.
    pub(super) async fn stats(&self, client: &mut Client) -> Result<StoreStats> {
        let look = self.look(client).await?;
        let statement = client
            .prepare_cached(
                "SELECT sum(messages_pending)::bigint AS backlog,
                   sum(notifications_pending)::bigint AS pending,
                   sum(notifications_parked)::bigint AS parked,
                   (SELECT min(waits_since) FROM bulkhead_messages WHERE state = 'pending') AS oldest
                 FROM bulkhead_counts",
            )
            .await?;
        let row = client.query_one(&statement, &[]).await?;
        let number =
            |name| -> Result<u64> { Ok(u64::try_from(row.try_get::<_, i64>(name)?).unwrap_or(0)) };
        let slots = self.slots(client, &look).await?;
        let taken = slots.iter().filter(|slot| slot.free_at > look.now).count();
        let oldest: Option<i64> = row.try_get("oldest")?;
        Ok(StoreStats {
            backlog: number("backlog")?,
            oldest_age_ms: oldest.map(|at| u64::try_from(look.now - at).unwrap_or(0)),
            notifications_pending: number("pending")?,
            notifications_parked: number("parked")?,
            slots_free: self
                .quota
                .calls
                .saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX)),
            held_ms: u64::try_from(look.held_until - look.now).unwrap_or(0),
        })
    }
}

fn view(row: &Row, now: Now) -> Result<RequestView> {
    Ok(RequestView {
        id: request_id(row, "id")?.ok_or(Unavailable::Corrupt("a request has no id"))?,
        state: state(row)?,
        message: message(row)?,
        attempts: row.try_get::<_, i32>("tries")?.unsigned_abs(),
        created_at: UnixMillis(row.try_get("created_at")?),
        notification: notification(row, now)?,
    })
}

fn notification(row: &Row, now: Now) -> Result<Option<NotificationView>> {
    let state = match row.try_get("notified")? {
        Some("pending") => NotificationState::Pending,
        Some("delivered") => NotificationState::Delivered,
        Some(_) => NotificationState::Parked,
        // It will be created when the message is finished.
        None if row.try_get("awaited")? => {
            return Ok(Some(NotificationView {
                state: NotificationState::Pending,
                attempts: 0,
                last_error: None,
                next_attempt_at: None,
            }));
        }
        None => return Ok(None),
    };
    let due_ms: Option<i64> = row.try_get("due_ms")?;
    Ok(Some(NotificationView {
        state,
        attempts: row.try_get::<_, i32>("deliveries")?.unsigned_abs(),
        last_error: row.try_get("last_error")?,
        next_attempt_at: due_ms.map(|ms| UnixMillis(now.wall.0.saturating_add(ms))),
    }))
}
