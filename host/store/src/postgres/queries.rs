//! Queries for the API and for statistics.

use super::Replica;
use super::requests::{message, request_id, state};
use crate::{
    NotificationState, NotificationView, Now, Owner, RequestFilter, RequestId, RequestQuery,
    RequestView, Result, StoreStats, Unavailable, UnixMillis, Viewer,
};
use deadpool_postgres::Client;
use tokio_postgres::Row;

/// All columns of a view, of a request `r`, its message `m` and its notification `n`.
const COLUMNS: &str = "r.id, r.owner, m.state, m.signature, m.error, m.text, m.tries, r.created_at,
     r.callback IS NOT NULL AND r.state = 'pending' AS awaited,
     n.state AS notified, n.tries AS deliveries, n.last_error,
     n.due_at - bulkhead_clock_ms() - (SELECT shift_ms FROM bulkhead_meta) AS due_ms";

/// Restricts a query to the viewer in $2: an owner, or NULL for all requests.
const VISIBLE: &str = "($2::text IS NULL OR r.owner = $2 AND r.owner <> '')";

/// Returns the statement for a list. $1 is the maximum number of requests, $2 the viewer, and $3 the number
/// before which the list begins.
fn list_statement(query: &RequestQuery) -> String {
    let condition = match query.filter {
        RequestFilter::All => "true",
        RequestFilter::Pending => "r.state = 'pending'",
        RequestFilter::Signed => "r.state = 'signed'",
        RequestFilter::Failed => "r.state = 'failed'",
        RequestFilter::Parked => "n.state = 'parked'",
    };
    let visible = match query.viewer {
        Viewer::All => "$2::text IS NULL",
        // The second condition is that of the indexes.
        Viewer::Owner(_) => "r.owner = $2 AND r.owner <> ''",
    };
    let from = match query.filter {
        RequestFilter::Parked => {
            "bulkhead_notifications n JOIN bulkhead_requests r ON r.number = n.request
               JOIN bulkhead_messages m ON m.id = r.message"
        }
        RequestFilter::All
        | RequestFilter::Pending
        | RequestFilter::Signed
        | RequestFilter::Failed => {
            "bulkhead_requests r JOIN bulkhead_messages m ON m.id = r.message
               LEFT JOIN bulkhead_notifications n ON n.request = r.number"
        }
    };
    let number = match query.filter {
        RequestFilter::Parked => "n.request",
        RequestFilter::All
        | RequestFilter::Pending
        | RequestFilter::Signed
        | RequestFilter::Failed => "r.number",
    };
    format!(
        "SELECT {COLUMNS} FROM {from} WHERE {condition} AND {visible} AND {number} < $3
         ORDER BY {number} DESC LIMIT $1"
    )
}

pub(super) async fn request(
    client: &mut Client,
    id: RequestId,
    viewer: Viewer,
    now: Now,
) -> Result<Option<RequestView>> {
    let statement = format!(
        "SELECT {COLUMNS} FROM bulkhead_requests r JOIN bulkhead_messages m ON m.id = r.message
           LEFT JOIN bulkhead_notifications n ON n.request = r.number WHERE r.id = $1 AND {VISIBLE}"
    );
    let statement = client.prepare_cached(&statement).await?;
    let owner = viewer.owner().map(Owner::as_str);
    let found = client
        .query_opt(&statement, &[&id.as_str(), &owner])
        .await?;
    found.map(|row| view(&row, now)).transpose()
}

/// Returns the number of a request, or `None` if it does not exist for the viewer.
async fn number(client: &Client, id: &RequestId, viewer: &Viewer) -> Result<Option<i64>> {
    let statement =
        format!("SELECT r.number FROM bulkhead_requests r WHERE r.id = $1 AND {VISIBLE}");
    let statement = client.prepare_cached(&statement).await?;
    let owner = viewer.owner().map(Owner::as_str);
    let found = client
        .query_opt(&statement, &[&id.as_str(), &owner])
        .await?;
    found.map_or(Ok(None), |row| Ok(Some(row.try_get(0)?)))
}

pub(super) async fn list(
    client: &mut Client,
    query: RequestQuery,
    now: Now,
) -> Result<Option<Vec<RequestView>>> {
    let before = match &query.after {
        None => i64::MAX,
        Some(after) => match number(client, after, &query.viewer).await? {
            Some(number) => number,
            None => return Ok(None),
        },
    };
    let statement = client.prepare_cached(&list_statement(&query)).await?;
    let owner = query.viewer.owner().map(Owner::as_str);
    let rows = client
        .query(&statement, &[&i64::from(query.max), &owner, &before])
        .await?;
    let views: Result<_> = rows.iter().map(|row| view(row, now)).collect();
    Ok(Some(views?))
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
        owner: Owner::of_column(row.try_get("owner")?),
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
