//! Attempts to sign messages.

use super::database::{Database, lease_token};
use super::notifications;
use super::queues::{last_owner, queues, record_turn};
use super::requests::trace;
use super::slots::{claim, end_claim, held_until, slots};
use crate::rules::{self, Purpose};
use crate::{
    Attempt, Claim, Lease, MessageId, Now, Outcome, RequestId, Result, SlotEnd, StoreError,
    UnixMillis,
};
use rusqlite::{Connection, params};

impl Database {
    /// See [`crate::Store::claim_attempt`].
    pub(super) fn claim_attempt(&mut self, now: Now) -> Result<Claim<Attempt>> {
        let quota = self.quota;
        self.transaction(|transaction| {
            let (queues, last_owner) = (queues(transaction)?, last_owner(transaction)?);
            let Some(turn) = rules::next_turn(&queues, &last_owner, now.boot.0) else {
                return Ok(rules::retry_after(None, now.boot.0));
            };
            let slots = slots(transaction)?;
            let call_at = rules::call_at(&slots, quota.calls, held_until(transaction)?);
            let at = call_at.map(|at| at.max(turn.at));
            let Some(slot) = claim(transaction, &slots, at, Purpose::Attempt, quota, now)? else {
                return Ok(rules::retry_after(at, now.boot.0));
            };
            record_turn(transaction, turn.owner)?;
            let message = MessageId(turn.message);
            let token = lease_token(transaction)?;
            let leased_until = now.boot.0 + rules::attempt_lease_ms(quota);
            let mut statement = transaction.prepare_cached(
                "UPDATE messages SET lease = ?2, leased_until = ?3 WHERE id = ?1
                 RETURNING text, tries, created_at,
                   (SELECT traceparent FROM requests WHERE message = ?1 ORDER BY number LIMIT 1)",
            )?;
            let claimed = statement.query_row(params![message.0, token, leased_until], |row| {
                Ok(Attempt {
                    lease: Lease { message, token },
                    slot,
                    message: row.get(0)?,
                    number: row.get::<_, u32>(1)?.saturating_add(1),
                    created_at: UnixMillis(row.get(2)?),
                    trace: trace(row.get(3)?),
                })
            })?;
            Ok(Claim::Acquired(claimed))
        })
    }

    /// See [`crate::Store::finish_attempt`].
    pub(super) fn finish_attempt(
        &mut self,
        claimed: &Attempt,
        end: SlotEnd,
        outcome: &Outcome,
        answered: &[RequestId],
        now: Now,
    ) -> Result<()> {
        let (lease, slot) = (&claimed.lease, &claimed.slot);
        let cooldown_ms = self.quota.cooldown_ms();
        self.transaction(|transaction| {
            match outcome {
                Outcome::Signed(signature) => {
                    finish(transaction, lease, "signed", Some(signature), None, now)?;
                    notifications::create(transaction, lease.message, "signed", answered, now)?;
                }
                Outcome::Failed(error) => {
                    finish(transaction, lease, "failed", None, Some(error), now)?;
                    notifications::create(transaction, lease.message, "failed", answered, now)?;
                }
                Outcome::Retry { after_ms } => again(transaction, lease, *after_ms, now)?,
            }
            end_claim(transaction, slot, end, cooldown_ms, now)
        })
    }
}

fn finish(
    transaction: &Connection,
    lease: &Lease,
    state: &str,
    signature: Option<&String>,
    error: Option<&String>,
    now: Now,
) -> Result<()> {
    let mut statement = transaction.prepare_cached(
        "UPDATE messages
         SET state = ?3, signature = ?4, error = ?5, finished_at = ?6, lease = NULL,
             leased_until = NULL, tries = tries + 1
         WHERE id = ?1 AND lease = ?2",
    )?;
    let (message, token) = (lease.message.0, lease.token);
    one(statement.execute(params![message, token, state, signature, error, now.wall.0])?)?;
    let mut statement = transaction.prepare_cached("UPDATE meta SET backlog = backlog - 1")?;
    statement.execute(())?;
    Ok(())
}

fn again(transaction: &Connection, lease: &Lease, after_ms: u64, now: Now) -> Result<()> {
    let mut statement = transaction.prepare_cached(
        "UPDATE messages SET due_at = ?3, lease = NULL, leased_until = NULL, tries = tries + 1
         WHERE id = ?1 AND lease = ?2",
    )?;
    let due_at = rules::after(now.boot.0, after_ms);
    one(statement.execute(params![lease.message.0, lease.token, due_at])?)
}

/// Checks that a lease was valid: otherwise no row was changed.
fn one(changed: usize) -> Result<()> {
    if changed == 1 {
        Ok(())
    } else {
        Err(StoreError::LeaseLost)
    }
}
