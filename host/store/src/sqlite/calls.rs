//! Slots, and tries of messages.

use super::{Sqlite, lease_token, notifications};
use crate::{
    BootMillis, Call, Lease, MessageId, Now, Outcome, RequestId, Result, Slot, SlotEnd, StoreError,
    Try, UnixMillis,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// A message that has been due for so long is tried before fresh ones: nothing starves.
const AGED_MS: i64 = 5 * 60 * 1000;

/// Further ahead than any try is planned: the wall clock stepped back, and the plan is void.
const PLANNED_MS_MAX: i64 = 60 * 60 * 1000;

impl Sqlite {
    /// Claims a slot and a message for it, if there is one of each: first what has waited for
    /// minutes, then what was never tried, then what is due again. `now` must have been read before
    /// this was called, so that the deadline of the call is not later than the slot's.
    pub fn begin_try(&mut self, now: Now) -> Result<Option<Try>> {
        let quota = self.quota;
        self.transaction(|transaction| {
            let Some(message) = next_message(transaction, now)? else {
                return Ok(None);
            };
            let Some(slot) = claim(transaction, quota.taken_ms(), quota.call_ms, now)? else {
                return Ok(None);
            };
            let token = lease_token(transaction)?;
            let mut statement = transaction.prepare_cached(
                "UPDATE messages SET lease = ?2 WHERE id = ?1
                 RETURNING text, tries, created_at",
            )?;
            let begun = statement.query_row(params![message.0, token], |row| {
                Ok(Try {
                    lease: Lease { message, token },
                    slot,
                    message: row.get(0)?,
                    number: row.get::<_, u32>(1)?.saturating_add(1),
                    created_at: UnixMillis(row.get(2)?),
                })
            })?;
            Ok(Some(begun))
        })
    }

    /// Writes down what a try came to, how its call ended and whom to tell, in one step. Requests in
    /// `answered` get the result as their answer: nobody has to be told later.
    pub fn finish_try(
        &mut self,
        begun: &Try,
        end: SlotEnd,
        outcome: &Outcome,
        answered: &[RequestId],
        now: Now,
    ) -> Result<()> {
        let (lease, slot) = (&begun.lease, &begun.slot);
        let spared_ms = self.quota.spared_ms();
        self.transaction(|transaction| {
            let (state, signature, error, due_at, finished_at) = match outcome {
                Outcome::Signed(signature) => {
                    ("signed", Some(signature), None, None, Some(now.wall.0))
                }
                Outcome::Failed(error) => ("failed", None, Some(error), None, Some(now.wall.0)),
                Outcome::Again { at } => ("pending", None, None, Some(at.0), None),
            };
            let mut statement = transaction.prepare_cached(
                "UPDATE messages
                 SET state = ?3, signature = ?4, error = ?5, due_at = ifnull(?6, due_at),
                     finished_at = ?7, lease = NULL, tries = tries + 1
                 WHERE id = ?1 AND lease = ?2",
            )?;
            let message = lease.message.0;
            let changed = statement.execute(params![
                message,
                lease.token,
                state,
                signature,
                error,
                due_at,
                finished_at
            ])?;
            if changed != 1 {
                return Err(StoreError::LeaseLost);
            }
            if finished_at.is_some() {
                notifications::create(transaction, lease.message, answered, now)?;
                let mut statement = transaction.prepare_cached(
                    "UPDATE requests SET open = 0 WHERE message = ?1 AND open = 1",
                )?;
                statement.execute([message])?;
                let mut statement =
                    transaction.prepare_cached("UPDATE meta SET backlog = backlog - 1")?;
                statement.execute(())?;
            }
            end_claim(transaction, slot, end, spared_ms, now)
        })
    }

    /// Claims a slot for a call that is no try.
    pub fn begin_call(&mut self, now: Now) -> Result<Option<Call>> {
        let quota = self.quota;
        self.transaction(|transaction| {
            let slot = claim(transaction, quota.taken_ms(), quota.call_ms, now)?;
            Ok(slot.map(|slot| Call { slot }))
        })
    }

    /// Writes down how such a call ended.
    pub fn end_call(&mut self, call: &Call, end: SlotEnd, now: Now) -> Result<()> {
        let spared_ms = self.quota.spared_ms();
        self.transaction(|transaction| end_claim(transaction, &call.slot, end, spared_ms, now))
    }

    /// No call before then, whatever slots are free.
    pub fn hold_calls(&mut self, until: BootMillis) -> Result<()> {
        self.transaction(|transaction| {
            let mut statement =
                transaction.prepare_cached("UPDATE meta SET held_until = max(held_until, ?1)")?;
            statement.execute([until.0])?;
            Ok(())
        })
    }

    /// When the next slot is free; none where there are no slots.
    pub fn next_slot_at(&self) -> Result<Option<BootMillis>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT max(min(free_at), (SELECT held_until FROM meta)) FROM slots")?;
        let at: Option<i64> = statement.query_row((), |row| row.get(0))?;
        Ok(at.map(BootMillis))
    }

    /// Tries that an earlier process left are void: their calls may have been made or not. What is
    /// known of its calls is kept; where it cannot be, no call is made for as long as an earlier one
    /// may count: after a start of the machine, with a longer window, and with a new file, which may
    /// stand in for one that was lost.
    pub(super) fn take_over(&mut self, boot_id: &str, now: Now) -> Result<()> {
        let quota = self.quota;
        self.transaction(|transaction| {
            for orphans in [
                "UPDATE messages SET lease = NULL WHERE lease IS NOT NULL",
                "UPDATE notifications SET lease = NULL WHERE lease IS NOT NULL",
            ] {
                transaction.execute(orphans, ())?;
            }
            let known = transaction
                .query_row(
                    "SELECT held_until FROM meta
                     WHERE boot_id = ?1 AND window_ms >= ?2 AND margin_ms >= ?3",
                    params![boot_id, quota.window_ms, quota.margin_ms],
                    |row| row.get::<_, i64>(0),
                )
                .optional()?;
            let held_until = known.unwrap_or(now.boot.0 + quota.spared_ms());
            if known.is_none() {
                // Of a clock that is no more.
                transaction.execute("UPDATE slots SET free_at = ?1", [held_until])?;
            }
            transaction.execute(
                "INSERT OR REPLACE INTO meta
                   (only_row, boot_id, held_until, window_ms, margin_ms, backlog, leases)
                 VALUES (1, ?1, ?2, ?3, ?4,
                   (SELECT count(*) FROM messages WHERE state = 'pending'),
                   ifnull((SELECT leases FROM meta), 0))",
                params![boot_id, held_until, quota.window_ms, quota.margin_ms],
            )?;
            let slots: u32 =
                transaction.query_row("SELECT count(*) FROM slots", (), |row| row.get(0))?;
            let first: u32 = transaction.query_row(
                "SELECT ifnull(max(number) + 1, 0) FROM slots",
                (),
                |row| row.get(0),
            )?;
            for more in 0..quota.calls.saturating_sub(slots) {
                transaction.execute(
                    "INSERT INTO slots (number, free_at) VALUES (?1, ?2)",
                    params![first + more, held_until.min(now.boot.0)],
                )?;
            }
            // Those that are taken the longest remain.
            transaction.execute(
                "DELETE FROM slots WHERE number NOT IN
                   (SELECT number FROM slots ORDER BY free_at DESC, number LIMIT ?1)",
                [quota.calls],
            )?;
            Ok(())
        })
    }
}

fn next_message(transaction: &Connection, now: Now) -> Result<Option<MessageId>> {
    const WAITING: &str = "SELECT id FROM messages WHERE state = 'pending' AND lease IS NULL";
    let first = |condition: &str, bound: i64| -> Result<Option<MessageId>> {
        let text = format!("{WAITING} AND {condition} ORDER BY due_at LIMIT 1");
        let mut statement = transaction.prepare_cached(&text)?;
        let id = |row: &Row<'_>| row.get(0).map(MessageId);
        Ok(statement.query_row([bound], id).optional()?)
    };
    let now = now.wall.0;
    if let Some(aged) = first("due_at <= ?1", now - AGED_MS)? {
        return Ok(Some(aged));
    }
    if let Some(fresh) = first("tries = 0 AND due_at >= ?1", i64::MIN)? {
        return Ok(Some(fresh));
    }
    if let Some(due) = first("due_at <= ?1", now)? {
        return Ok(Some(due));
    }
    first("due_at > ?1", now + PLANNED_MS_MAX)
}

/// Takes the slot that has been free for the longest.
fn claim(transaction: &Connection, taken_ms: i64, call_ms: u32, now: Now) -> Result<Option<Slot>> {
    let mut statement = transaction.prepare_cached(
        "UPDATE slots SET free_at = ?1 + ?2, claim = claim + 1
         WHERE number = (SELECT number FROM slots
                         WHERE free_at <= ?1 AND (SELECT held_until FROM meta) <= ?1
                         ORDER BY free_at, number LIMIT 1)
         RETURNING number, claim",
    )?;
    let slot = statement.query_row(params![now.boot.0, taken_ms], |row| {
        Ok(Slot {
            number: row.get(0)?,
            claim: row.get(1)?,
            send_before: BootMillis(now.boot.0 + i64::from(call_ms)),
        })
    });
    Ok(slot.optional()?)
}

/// A claim that is not the last of its slot ends nothing.
fn end_claim(
    transaction: &Connection,
    slot: &Slot,
    end: SlotEnd,
    spared_ms: i64,
    now: Now,
) -> Result<()> {
    match end {
        SlotEnd::Unknown => Ok(()),
        SlotEnd::Answered => {
            let mut statement = transaction.prepare_cached(
                "UPDATE slots SET free_at = min(free_at, ?3) WHERE number = ?1 AND claim = ?2",
            )?;
            statement.execute(params![slot.number, slot.claim, now.boot.0 + spared_ms])?;
            Ok(())
        }
    }
}
