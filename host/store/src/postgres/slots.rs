//! Slots: permissions to call the upstream within its quota.

use super::Replica;
use super::clock::Look;
use crate::rules::{self, Purpose, SlotRow};
use crate::{BootMillis, Claim, Now, Result, Slot, SlotEnd};
use deadpool_postgres::{Client, GenericClient};

/// Tolerance beyond the latest time at which a claim can end. A later end shows that the clock was wrong at the
/// claim.
const WRONG_MS: i64 = 60 * 60 * 1000;

/// Maximum number of attempts of an operation that fails because another replica was faster.
pub(super) const RACES_MAX: u32 = 5;

impl Replica {
    pub(super) async fn claim_check(
        &self,
        client: &mut Client,
        checks_max: u32,
        now: Now,
    ) -> Result<Claim<Slot>> {
        for _race in 0..RACES_MAX {
            let look = self.look_to_call(client).await?;
            let at = self.check_at(client, checks_max, &look).await?;
            if at.is_none_or(|at| at > look.now) {
                return Ok(rules::retry_after(at, look.now));
            }
            // The lock serialises claims: the results of the queries below stay valid until the
            // claim.
            let transaction = client.transaction().await?;
            if !lock(&transaction, &look).await? {
                continue;
            }
            let at = self.check_at(&transaction, checks_max, &look).await?;
            if at.is_none_or(|at| at > look.now) {
                return Ok(rules::retry_after(at, look.now));
            }
            let slot = self.claim(&transaction, Purpose::Check, &look, now).await?;
            if let Some(slot) = slot {
                self.remember_machine(&transaction, &look, now).await?;
                transaction.commit().await?;
                return Ok(Claim::Acquired(slot));
            }
        }
        Ok(Claim::RetryAfter { after_ms: Some(0) })
    }

    async fn check_at(
        &self,
        client: &impl GenericClient,
        checks_max: u32,
        look: &Look,
    ) -> Result<Option<i64>> {
        let statement = client
            .prepare_cached("SELECT EXISTS (SELECT FROM bulkhead_messages WHERE state = 'pending')")
            .await?;
        let waits: bool = client.query_one(&statement, &[]).await?.try_get(0)?;
        let checks_max = waits.then_some(checks_max);
        let slots = self.slots(client, look).await?;
        Ok(rules::check_at(
            &slots,
            self.quota.calls,
            look.held_until,
            checks_max,
        ))
    }

    pub(super) async fn end_check(
        &self,
        client: &mut Client,
        slot: Slot,
        end: SlotEnd,
    ) -> Result<()> {
        let look = self.look(client).await?;
        self.end_claim(client, &slot, end, &look).await
    }

    pub(super) async fn hold_calls(&self, client: &mut Client, for_ms: u64) -> Result<()> {
        let look = self.look(client).await?;
        let statement = client
            .prepare_cached("UPDATE bulkhead_meta SET held_until = greatest(held_until, $1)")
            .await?;
        client
            .execute(&statement, &[&rules::after(look.now, for_ms)])
            .await?;
        Ok(())
    }

    /// Returns all slots, including those that only other replicas use.
    pub(super) async fn slots(
        &self,
        client: &impl GenericClient,
        look: &Look,
    ) -> Result<Vec<SlotRow>> {
        let statement = client
            .prepare_cached(
                "SELECT number, free_at, purpose = 'check' AS is_check FROM bulkhead_slots",
            )
            .await?;
        let rows = client.query(&statement, &[]).await?;
        let latest = look.now.saturating_add(self.quota.claim_ms());
        let rows = rows.iter().map(|row| {
            let free_at: i64 = row.try_get("free_at")?;
            Ok(SlotRow {
                number: u32::try_from(row.try_get::<_, i64>("number")?).unwrap_or(u32::MAX),
                free_at: if free_at > latest.saturating_add(WRONG_MS) {
                    latest
                } else {
                    free_at
                },
                check: row.try_get("is_check")?,
            })
        });
        rows.collect()
    }

    /// Claims the slot that has been free for the longest time. The caller holds the lock and has
    /// checked that a call is allowed. If the result of the commit is unknown, the slot counts as
    /// claimed.
    pub(super) async fn claim(
        &self,
        client: &impl GenericClient,
        purpose: Purpose,
        look: &Look,
        now: Now,
    ) -> Result<Option<Slot>> {
        let slots = self.slots(client, look).await?;
        let Some(slot) = rules::freest(&slots).filter(|slot| slot.free_at <= look.now) else {
            return Ok(None);
        };
        // The window and the margin are the maximum over all replicas.
        let statement = client
            .prepare_cached(
                "UPDATE bulkhead_slots
                 SET free_at = (SELECT $2 + window_ms + margin_ms FROM bulkhead_meta),
                     purpose = $3, claim = claim + 1
                 WHERE number = $1 AND free_at <= $4
                 RETURNING claim",
            )
            .await?;
        let call_over = look.now.saturating_add(i64::from(self.quota.call_ms));
        let claimed = client
            .query_opt(
                &statement,
                &[
                    &i64::from(slot.number),
                    &call_over,
                    &purpose.name(),
                    &look.now,
                ],
            )
            .await?;
        let Some(row) = claimed else {
            return Ok(None);
        };
        Ok(Some(Slot {
            number: slot.number,
            claim: row.try_get("claim")?,
            send_before: BootMillis(now.boot.0.saturating_add(i64::from(self.quota.call_ms))),
        }))
    }

    /// Ends a claim if it is the last one of its slot. If the time is not certain, the slot stays
    /// taken.
    pub(super) async fn end_claim(
        &self,
        client: &impl GenericClient,
        slot: &Slot,
        end: SlotEnd,
        look: &Look,
    ) -> Result<()> {
        match end {
            SlotEnd::Settled if look.may_free() => {
                let statement = client
                    .prepare_cached(
                        "UPDATE bulkhead_slots AS s
                         SET free_at = least(s.free_at, $3 + m.window_ms + m.margin_ms)
                         FROM bulkhead_meta AS m
                         WHERE s.number = $1 AND s.claim = $2 AND m.epoch = $4",
                    )
                    .await?;
                client
                    .execute(
                        &statement,
                        &[&i64::from(slot.number), &slot.claim, &look.now, &look.epoch],
                    )
                    .await?;
                Ok(())
            }
            SlotEnd::Settled | SlotEnd::Unknown => Ok(()),
        }
    }
}

/// Blocks other claims, corrections and holds until this transaction ends. Returns false if the
/// store's time was corrected or a hold was set since the reading.
pub(super) async fn lock(client: &impl GenericClient, look: &Look) -> Result<bool> {
    let statement = client
        .prepare_cached(
            "SELECT FROM bulkhead_meta
             WHERE epoch = $1 AND held_until <= $2 AND incarnation = bulkhead_incarnation()
             FOR NO KEY UPDATE",
        )
        .await?;
    let locked = client
        .query_opt(&statement, &[&look.epoch, &look.now])
        .await?;
    Ok(locked.is_some())
}
