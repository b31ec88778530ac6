//! Sessions, the leases of dead sessions, and counts.

use super::Replica;
use crate::rules::{NOTIFICATION_LEASE_MS, attempt_lease_ms};
use crate::{BootMillis, Now, Result};
use deadpool_postgres::{Client, GenericClient};
use std::collections::HashMap;

/// Time without a heartbeat after which a session is dead.
const DEAD_MS: i64 = 30_000;

/// Maximum interval between two observations. After a longer one, a replica cannot conclude that
/// other sessions had no heartbeats, because the database may have been unavailable for all.
const OBSERVATION_INTERVAL_MAX_MS: i64 = 5000;

/// The other sessions as this replica has observed them.
#[derive(Default)]
pub(super) struct Others {
    looked_at: Option<BootMillis>,
    /// The heartbeat counter of each session, and when its value was first seen.
    seen: HashMap<i64, (i64, BootMillis)>,
}

impl Others {
    /// Records the sessions and their counters, and returns the dead ones.
    fn look(&mut self, beats: &[(i64, i64)], now: BootMillis) -> Vec<(i64, i64)> {
        let watched = self
            .looked_at
            .is_some_and(|at| now.0.saturating_sub(at.0) <= OBSERVATION_INTERVAL_MAX_MS);
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
    /// Returns the session of this replica, which owns its leases.
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
        // If another call was faster, the session of this call is left to expire.
        Ok(*self.state().session.get_or_insert(session))
    }

    /// Forgets the session, after another replica has treated it as dead and has taken over its
    /// leases.
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
            tracing::warn!("this replica was treated as dead; others have taken over its attempts");
            self.forget_session(session);
            self.session(client).await?;
        }
        self.end_dead_sessions(client, now).await?;
        self.end_old_leases(client, now).await?;
        let look = self.look_to_call(client).await?;
        self.remember_machine(client, &look, now).await
    }

    /// Deletes dead sessions, and with them their leases, through foreign keys. A transaction that
    /// is about to add a lease to a session locks it, or finds it deleted.
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
                tracing::info!("a replica is gone; its attempts are taken over");
            }
        }
        // A window that is longer than that of any replica is no longer needed.
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

    /// Ends expired leases of this session, because their owners no longer wait for a result.
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

/// Changes of the counts.
#[derive(Default, Clone, Copy)]
pub(super) struct Counted {
    pub(super) messages_pending: i64,
    pub(super) notifications_pending: i64,
    pub(super) notifications_parked: i64,
}

/// Changes the counts. Must be the last statement of a transaction, because connections of the same
/// shard wait for this lock and its holder must not wait for anything.
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
