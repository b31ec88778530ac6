//! Slots: the right to make calls.

use super::database::Database;
use super::requests::backlog;
use crate::rules::{self, Purpose, SlotRow};
use crate::{BootMillis, Claim, Now, Quota, Result, Slot, SlotEnd};
use rusqlite::{Connection, params};

impl Database {
    /// See [`crate::Store::claim_check`].
    pub(super) fn claim_check(&mut self, checks_max: u32, now: Now) -> Result<Claim<Slot>> {
        let quota = self.quota;
        self.transaction(|transaction| {
            let checks_max = (backlog(transaction)? > 0).then_some(checks_max);
            let slots = slots(transaction)?;
            let held_until = held_until(transaction)?;
            let at = rules::check_at(&slots, quota.calls, held_until, checks_max);
            match claim(transaction, &slots, at, Purpose::Check, quota, now)? {
                Some(slot) => Ok(Claim::Acquired(slot)),
                None => Ok(rules::retry_after(at, now.boot.0)),
            }
        })
    }

    /// See [`crate::Store::end_check`].
    pub(super) fn end_check(&mut self, slot: &Slot, end: SlotEnd, now: Now) -> Result<()> {
        let cooldown_ms = self.quota.cooldown_ms();
        self.transaction(|transaction| end_claim(transaction, slot, end, cooldown_ms, now))
    }

    /// See [`crate::Store::hold_calls`].
    pub(super) fn hold_calls(&mut self, for_ms: u64, now: Now) -> Result<()> {
        self.transaction(|transaction| {
            let mut statement =
                transaction.prepare_cached("UPDATE meta SET held_until = max(held_until, ?1)")?;
            statement.execute([rules::after(now.boot.0, for_ms)])?;
            Ok(())
        })
    }
}

pub(super) fn slots(connection: &Connection) -> Result<Vec<SlotRow>> {
    let mut statement =
        connection.prepare_cached("SELECT number, free_at, purpose = 'check' FROM slots")?;
    let rows = statement.query_map((), |row| {
        Ok(SlotRow {
            number: row.get(0)?,
            free_at: row.get(1)?,
            check: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn held_until(connection: &Connection) -> Result<i64> {
    let mut statement = connection.prepare_cached("SELECT held_until FROM meta")?;
    Ok(statement.query_row((), |row| row.get(0))?)
}

/// Claims the slot that has been free for the longest time, if a call may be made now.
pub(super) fn claim(
    transaction: &Connection,
    slots: &[SlotRow],
    at: Option<i64>,
    purpose: Purpose,
    quota: Quota,
    now: Now,
) -> Result<Option<Slot>> {
    let (Some(at), Some(slot)) = (at, rules::freest(slots)) else {
        return Ok(None);
    };
    if at > now.boot.0 {
        return Ok(None);
    }
    let mut statement = transaction.prepare_cached(
        "UPDATE slots SET free_at = ?2, purpose = ?3, claim = claim + 1
         WHERE number = ?1 AND free_at <= ?4 RETURNING claim",
    )?;
    let free_at = now.boot.0 + quota.claim_ms();
    let claim = statement.query_row(
        params![slot.number, free_at, purpose.name(), now.boot.0],
        |row| row.get(0),
    )?;
    Ok(Some(Slot {
        number: slot.number,
        claim,
        send_before: BootMillis(now.boot.0 + i64::from(quota.call_ms)),
    }))
}

/// Ends a claim. Has no effect if the slot was claimed again since.
pub(super) fn end_claim(
    transaction: &Connection,
    slot: &Slot,
    end: SlotEnd,
    cooldown_ms: i64,
    now: Now,
) -> Result<()> {
    match end {
        SlotEnd::Unknown => Ok(()),
        SlotEnd::Settled => {
            let mut statement = transaction.prepare_cached(
                "UPDATE slots SET free_at = min(free_at, ?3) WHERE number = ?1 AND claim = ?2",
            )?;
            statement.execute(params![slot.number, slot.claim, now.boot.0 + cooldown_ms])?;
            Ok(())
        }
    }
}
