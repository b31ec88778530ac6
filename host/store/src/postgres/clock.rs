//! The store's time, its corrections, and the decisions that depend on it.

use super::Replica;
use crate::clock_monitor::{Offset, Reading, Reference, Verdict};
use crate::{BootMillis, Now, Result};
use deadpool_postgres::{Client, GenericClient};

/// Maximum number of readings until the time is certain.
const LOOKS_MAX: u32 = 5;

/// Delay before the next reading after an uncertain one.
const UNSURE_MS: i64 = 100;

/// Interval between two writes of this machine's row. Another process on the machine continues with that
/// row.
const MACHINE_MS: i64 = 30_000;

/// Time after which the row of a machine is deleted. The machine was restarted or is gone.
const MACHINE_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;

const LOOK: &str =
    "SELECT bulkhead_clock_ms() + shift_ms AS now, epoch, held_until, window_ms, margin_ms,
    incarnation = bulkhead_incarnation() AS same_incarnation,
    (SELECT count(*) FROM bulkhead_slots) AS slots
  FROM bulkhead_meta";

/// A reading of the store's time and of the state that decides about calls. It stays valid after a
/// correction, because a correction keeps the store's time continuous.
pub(super) struct Look {
    /// The store's time.
    pub(super) now: i64,
    /// The time before which this replica makes no call.
    pub(super) held_until: i64,
    /// The number of corrections before this reading.
    pub(super) epoch: i64,
    /// Whether the age of earlier calls is known.
    is_certain: bool,
    /// Whether the slots fit the quota of this replica.
    is_settled: bool,
}

impl Look {
    /// Returns whether this reading may be used to set the times of slots.
    pub(super) fn may_free(&self) -> bool {
        self.is_certain
    }
}

impl Replica {
    /// Reads the time, and corrects it if it has jumped.
    pub(super) async fn look(&self, client: &mut Client) -> Result<Look> {
        self.look_until(client, false).await
    }

    /// Reads the time for a call to the upstream. The slots are also adapted to the quota of this
    /// replica.
    pub(super) async fn look_to_call(&self, client: &mut Client) -> Result<Look> {
        // The quota counts as long as the session has heartbeats: see `sessions`.
        self.session(client).await?;
        self.look_until(client, true).await
    }

    async fn look_until(&self, client: &mut Client, settled: bool) -> Result<Look> {
        let (mut look, mut verdict) = self.look_once(client).await?;
        for _again in 1..LOOKS_MAX {
            match verdict {
                Verdict::Fine if look.is_settled || !settled => break,
                Verdict::Fine => self.settle(client, &look).await?,
                Verdict::Unsure => {}
                Verdict::Jumped { by_ms } => self.correct(client, &look, by_ms).await?,
            }
            (look, verdict) = self.look_once(client).await?;
        }
        if verdict != Verdict::Fine || settled && !look.is_settled {
            look.is_certain = false;
            look.held_until = look.held_until.max(look.now + UNSURE_MS);
        }
        Ok(look)
    }

    async fn look_once(&self, client: &mut Client) -> Result<(Look, Verdict)> {
        if self.state().clock_monitor.is_new() {
            self.recall_machine(client).await?;
        }
        let statement = client.prepare_cached(LOOK).await?;
        let before = (self.boot_clock)();
        let row = client.query_one(&statement, &[]).await?;
        let after = (self.boot_clock)();
        let reading = Reading {
            before,
            store_ms: row.try_get("now")?,
            after,
            epoch: row.try_get("epoch")?,
        };
        let (verdict, wait_ms) = {
            let clock_monitor = &mut self.state().clock_monitor;
            (clock_monitor.compare(reading), clock_monitor.wait_ms(after))
        };
        if let Verdict::Jumped { by_ms } = verdict {
            tracing::warn!(clock.jumped_ms = by_ms, "the database's clock has jumped");
        }
        let now = reading.store_ms;
        let held_until: i64 = row.try_get("held_until")?;
        let longest = |name, own: u32| row.try_get::<_, i64>(name).map(|is| is >= i64::from(own));
        let look = Look {
            now,
            held_until: held_until.max(now.saturating_add(wait_ms)),
            epoch: reading.epoch,
            is_certain: wait_ms == 0,
            is_settled: row.try_get("same_incarnation")?
                && longest("window_ms", self.quota.window_ms)?
                && longest("margin_ms", self.quota.margin_ms)?
                && row.try_get::<_, i64>("slots")? >= i64::from(self.quota.calls),
        };
        Ok((look, verdict))
    }

    /// Corrects a jump, so that the store's time continues where it was. The size of the jump is
    /// not known to the millisecond, and other replicas may have used the wrong time. All calls
    /// therefore wait until every earlier call has left the window. The first correction wins: if
    /// two replicas correct the same jump, the statement of the second finds another epoch and
    /// changes nothing.
    async fn correct(&self, client: &Client, look: &Look, by_ms: i64) -> Result<()> {
        let statement = client
            .prepare_cached(
                "UPDATE bulkhead_meta
                 SET shift_ms = shift_ms - $1, epoch = epoch + 1,
                     held_until = greatest(held_until, $2, $4 + window_ms + margin_ms)
                 WHERE epoch = $3",
            )
            .await?;
        let now = look.now - by_ms;
        let held_until = now.saturating_add(self.quota.claim_ms());
        // This process may have a shorter window than others, or none if it is the command line.
        let call_over = now.saturating_add(i64::from(self.quota.call_ms));
        client
            .execute(&statement, &[&by_ms, &held_until, &look.epoch, &call_over])
            .await?;
        Ok(())
    }

    /// Adapts the slots to the quota of this replica. Calls wait until no unknown call can be in the window.
    /// Calls are unknown if a lost copy of the database had recorded them, or if a replica with a shorter
    /// window has removed them already.
    ///
    /// The lock on `bulkhead_meta` excludes claims meanwhile.
    async fn settle(&self, client: &mut Client, look: &Look) -> Result<()> {
        let quota = self.quota;
        let transaction = client.transaction().await?;
        let locked = transaction
            .query_opt(
                "SELECT window_ms, margin_ms, incarnation = bulkhead_incarnation() AS same_incarnation
                 FROM bulkhead_meta WHERE epoch = $1 FOR NO KEY UPDATE",
                &[&look.epoch],
            )
            .await?;
        let Some(meta) = locked else {
            return Ok(());
        };
        let mut hold_ms = 0;
        if !meta.try_get::<_, bool>("same_incarnation")? {
            tracing::warn!("the database was restarted or replaced; no calls for one window");
            hold_ms = quota.claim_ms();
        }
        let (window_ms, margin_ms): (i64, i64) =
            (meta.try_get("window_ms")?, meta.try_get("margin_ms")?);
        let longer_ms = (i64::from(quota.window_ms) - window_ms).max(0)
            + (i64::from(quota.margin_ms) - margin_ms).max(0);
        if longer_ms > 0 {
            hold_ms = hold_ms.max(quota.cooldown_ms());
            transaction
                .execute(
                    "UPDATE bulkhead_slots SET free_at = free_at + $1",
                    &[&longer_ms],
                )
                .await?;
        }
        transaction
            .execute(
                "UPDATE bulkhead_meta
                 SET window_ms = greatest(window_ms, $1), margin_ms = greatest(margin_ms, $2),
                     incarnation = bulkhead_incarnation(),
                     held_until = greatest(held_until, $3)",
                &[
                    &i64::from(quota.window_ms),
                    &i64::from(quota.margin_ms),
                    &if hold_ms > 0 {
                        look.now.saturating_add(hold_ms)
                    } else {
                        i64::MIN
                    },
                ],
            )
            .await?;
        // Surplus slots remain. Taken ones count, and no more are claimed than the quota allows.
        transaction
            .execute(
                "INSERT INTO bulkhead_slots (number, free_at)
                 SELECT number, $2 FROM generate_series(0, $1::bigint - 1) AS number
                 ON CONFLICT DO NOTHING",
                &[&i64::from(quota.calls), &look.now],
            )
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Loads what another process has recorded about this machine's clock since its boot.
    async fn recall_machine(&self, client: &Client) -> Result<()> {
        let found = client
            .query_opt(
                "SELECT low_us, high_us, read_at, epoch FROM bulkhead_machines WHERE boot_id = $1",
                &[&self.boot_id],
            )
            .await?;
        if let Some(row) = found {
            let reference = Reference {
                offset: Offset {
                    low_us: row.try_get("low_us")?,
                    high_us: row.try_get("high_us")?,
                },
                at: BootMillis(row.try_get("read_at")?),
                epoch: row.try_get("epoch")?,
            };
            self.state().clock_monitor.recall(reference);
        }
        Ok(())
    }

    /// Records the clock of this machine, once it is certain, so that another process on it can
    /// continue.
    pub(super) async fn remember_machine(
        &self,
        client: &impl GenericClient,
        look: &Look,
        now: Now,
    ) -> Result<()> {
        let reference = {
            let state = self.state();
            let is_old = |at: BootMillis| now.boot.0.saturating_sub(at.0) >= MACHINE_MS;
            if !state.machine_at.is_none_or(is_old) {
                return Ok(());
            }
            state.clock_monitor.to_recall(now.boot)
        };
        let Some(reference) = reference.filter(|_| look.is_certain) else {
            return Ok(());
        };
        let statement = client
            .prepare_cached(
                "INSERT INTO bulkhead_machines (boot_id, low_us, high_us, read_at, epoch, seen_at)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (boot_id) DO UPDATE
                 SET low_us = excluded.low_us, high_us = excluded.high_us,
                     read_at = excluded.read_at, epoch = excluded.epoch, seen_at = excluded.seen_at",
            )
            .await?;
        client
            .execute(
                &statement,
                &[
                    &self.boot_id,
                    &reference.offset.low_us,
                    &reference.offset.high_us,
                    &reference.at.0,
                    &reference.epoch,
                    &look.now,
                ],
            )
            .await?;
        let statement = client
            .prepare_cached("DELETE FROM bulkhead_machines WHERE seen_at < $1")
            .await?;
        client
            .execute(&statement, &[&(look.now - MACHINE_KEPT_MS)])
            .await?;
        self.state().machine_at = Some(now.boot);
        Ok(())
    }
}
