//! Sessions, what dead ones leave behind, and counts.

use super::Replica;
use crate::rules::{NOTIFICATION_LEASE_MS, attempt_lease_ms};
use crate::{BootMillis, Now, Result};
use deadpool_postgres::{Client, GenericClient};
use std::collections::HashMap;

/// A session that has not moved for so long is dead.
const DEAD_MS: i64 = 30_000;

/// Who looks less often has not seen that the others stood still: the database may have been away for
/// all.
const LOOK_MS_MAX: i64 = 5000;

/// Other sessions, as this replica sees them.
#[derive(Default)]
pub(super) struct Others {
    looked_at: Option<BootMillis>,
    /// The beat of each, and when it was seen first.
    seen: HashMap<i64, (i64, BootMillis)>,
}

impl Others {
    /// Takes down what there is, and says which of them are dead, with their last beat.
    fn look(&mut self, beats: &[(i64, i64)], now: BootMillis) -> Vec<(i64, i64)> {
        let watched = self
            .looked_at
            .is_some_and(|at| now.0.saturating_sub(at.0) <= LOOK_MS_MAX);
        self.looked_at = Some(now);
        let mut dead = Vec::new();
        let mut seen = HashMap::with_capacity(beats.len());
        for (session, beat) in beats {
            let before = self
                .seen
                .get(session)
                .filter(|(at, _)| watched && at == beat);
            let since = before.map_or(now, |(_, since)| *since);
            if now.0.saturating_sub(since.0) >= DEAD_MS {
                dead.push((*session, *beat));
            }
            seen.insert(*session, (*beat, since));
        }
        self.seen = seen;
        dead
    }
}

impl Replica {
    /// The session that leases of this replica belong to.
    pub(super) async fn session(&self, client: &Client) -> Result<i64> {
        if let Some(session) = self.state().session {
            return Ok(session);
        }
        let statement = client
            .prepare_cached(
                "INSERT INTO bulkhead_sessions (window_ms, margin_ms) VALUES ($1, $2) RETURNING id",
            )
            .await?;
        let (window_ms, margin_ms) = (self.quota.window_ms, self.quota.margin_ms);
        let row = client
            .query_one(&statement, &[&i64::from(window_ms), &i64::from(margin_ms)])
            .await?;
        let session = row.try_get(0)?;
        // If another call was faster, this one is left to die.
        Ok(*self.state().session.get_or_insert(session))
    }

    /// Others took it for dead: what it held is theirs.
    pub(super) fn forget_session(&self, session: i64) {
        let mut state = self.state();
        state.session = state.session.filter(|current| *current != session);
    }

    pub(super) async fn heartbeat(&self, client: &mut Client, now: Now) -> Result<()> {
        let session = self.session(client).await?;
        let statement = client
            .prepare_cached("UPDATE bulkhead_sessions SET beat = beat + 1 WHERE id = $1")
            .await?;
        if client.execute(&statement, &[&session]).await? == 0 {
            tracing::warn!("this replica was taken for dead: its tries are others' now");
            self.forget_session(session);
            self.session(client).await?;
        }
        self.end_dead_sessions(client, now).await?;
        self.end_old_leases(client, now).await?;
        let look = self.look_to_call(client).await?;
        self.remember_machine(client, &look, now).await
    }

    /// The leases go with the session: the tables say so. Whoever is about to lease something for it
    /// holds a lock on it, or finds it gone.
    async fn end_dead_sessions(&self, client: &Client, now: Now) -> Result<()> {
        let statement = client
            .prepare_cached("SELECT id, beat FROM bulkhead_sessions")
            .await?;
        let mut beats = Vec::new();
        for row in client.query(&statement, &[]).await? {
            beats.push((row.try_get("id")?, row.try_get("beat")?));
        }
        let dead = self.state().others.look(&beats, now.boot);
        for (session, beat) in dead {
            let statement = client
                .prepare_cached("DELETE FROM bulkhead_sessions WHERE id = $1 AND beat = $2")
                .await?;
            if client.execute(&statement, &[&session, &beat]).await? == 1 {
                tracing::info!("a replica is gone: its tries are taken over");
            }
        }
        // A longer window than that of any replica is no longer needed.
        let statement = client
            .prepare_cached(
                "UPDATE bulkhead_meta m
                 SET window_ms = s.window_ms, margin_ms = s.margin_ms
                 FROM (SELECT max(window_ms) AS window_ms, max(margin_ms) AS margin_ms
                       FROM bulkhead_sessions) AS s
                 WHERE m.window_ms > s.window_ms AND m.margin_ms >= s.margin_ms
                    OR m.window_ms >= s.window_ms AND m.margin_ms > s.margin_ms",
            )
            .await?;
        client.execute(&statement, &[]).await?;
        Ok(())
    }

    /// Whoever waited for what came of them has stopped to.
    async fn end_old_leases(&self, client: &Client, now: Now) -> Result<()> {
        let Some(session) = self.state().session else {
            return Ok(());
        };
        let tries = "UPDATE bulkhead_messages SET session = NULL
             WHERE session = $1 AND leased_at <= $2";
        let notifications = "UPDATE bulkhead_notifications SET session = NULL
             WHERE session = $1 AND leased_at <= $2";
        for (statement, after_ms) in [
            (tries, attempt_lease_ms(self.quota)),
            (notifications, NOTIFICATION_LEASE_MS),
        ] {
            let statement = client.prepare_cached(statement).await?;
            let before = now.boot.0.saturating_sub(after_ms);
            client.execute(&statement, &[&session, &before]).await?;
        }
        Ok(())
    }
}

/// What there is more of, or less.
#[derive(Default, Clone, Copy)]
pub(super) struct Counted {
    pub(super) messages_pending: i64,
    pub(super) notifications_pending: i64,
    pub(super) notifications_parked: i64,
}

/// To be called last in a transaction: others of the same connection number wait for this lock, and
/// whoever holds it waits for nothing.
pub(super) async fn count(client: &impl GenericClient, counted: Counted) -> Result<()> {
    let statement = client
        .prepare_cached(
            "UPDATE bulkhead_counts
             SET messages_pending = messages_pending + $1,
                 notifications_pending = notifications_pending + $2,
                 notifications_parked = notifications_parked + $3
             WHERE shard = pg_backend_pid() % 64",
        )
        .await?;
    client
        .execute(
            &statement,
            &[
                &counted.messages_pending,
                &counted.notifications_pending,
                &counted.notifications_parked,
            ],
        )
        .await?;
    Ok(())
}
