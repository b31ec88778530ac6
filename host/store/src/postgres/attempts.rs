//! Attempts to sign messages.

use super::Replica;
use super::clock::Look;
use super::errors::is_raced;
use super::queues::{last_owner, queues, record_turn};
use super::requests::{self, text};
use super::sessions::{Counted, count};
use super::slots::{RACES_MAX, lock};
use crate::rules::{self, Purpose};
use crate::{
    Attempt, Claim, Lease, MessageId, Now, Outcome, RequestId, Result, Slot, SlotEnd, StoreError,
    UnixMillis,
};
use deadpool_postgres::{Client, GenericClient};

/// A message that may be attempted now, and the owner of its queue.
struct Next {
    message: i64,
    owner: String,
}

impl Replica {
    pub(super) async fn claim_attempt(
        &self,
        client: &mut Client,
        now: Now,
    ) -> Result<Claim<Attempt>> {
        for _race in 0..RACES_MAX {
            let session = self.session(client).await?;
            let look = self.look_to_call(client).await?;
            if let Err(at) = self.turn(client, &look).await? {
                return Ok(rules::retry_after(at, look.now));
            }
            // The lock serialises claims: the results of the queries below stay valid until the
            // claim. Only the message may be finished meanwhile, by an attempt whose lease has
            // expired. Then nothing is claimed.
            let transaction = client.transaction().await?;
            if !lock(&transaction, &look).await? {
                continue;
            }
            let next = match self.turn(&transaction, &look).await? {
                Ok(next) => next,
                Err(at) => return Ok(rules::retry_after(at, look.now)),
            };
            let slot = self
                .claim(&transaction, Purpose::Attempt, &look, now)
                .await?;
            let Some(slot) = slot else {
                continue;
            };
            match take(&transaction, next.message, session, slot, now).await {
                Ok(Some(claimed)) => {
                    record_turn(&transaction, &next.owner).await?;
                    self.remember_machine(&transaction, &look, now).await?;
                    transaction.commit().await?;
                    return Ok(Claim::Acquired(claimed));
                }
                Ok(None) => {}
                // Another replica has treated this session as dead.
                Err(Taking::SessionLost) => {
                    drop(transaction);
                    self.forget_session(session);
                }
                Err(Taking::Failed(error)) => return Err(error),
            }
        }
        Ok(Claim::RetryAfter { after_ms: Some(0) })
    }

    /// Returns the next message if it may be attempted now, and otherwise the time at which it may
    /// be.
    async fn turn(
        &self,
        client: &impl GenericClient,
        look: &Look,
    ) -> Result<std::result::Result<Next, Option<i64>>> {
        let (queues, last_owner) = (queues(client).await?, last_owner(client).await?);
        let Some(turn) = rules::next_turn(&queues, &last_owner, look.now) else {
            return Ok(Err(None));
        };
        let slots = self.slots(client, look).await?;
        let call_at = rules::call_at(&slots, self.quota.calls, look.held_until);
        let at = call_at.map(|at| at.max(turn.at));
        Ok(if at.is_some_and(|at| at <= look.now) {
            Ok(Next {
                message: turn.message,
                owner: turn.owner.to_owned(),
            })
        } else {
            Err(at)
        })
    }

    pub(super) async fn finish_attempt(
        &self,
        client: &mut Client,
        claimed: Attempt,
        end: SlotEnd,
        outcome: Outcome,
        answered: Vec<RequestId>,
    ) -> Result<()> {
        let look = self.look(client).await?;
        let (Lease { message, token }, slot) = (claimed.lease, claimed.slot);
        let transaction = client.transaction().await?;
        match outcome {
            Outcome::Retry { after_ms } => {
                let statement = transaction
                    .prepare_cached(
                        "UPDATE bulkhead_messages
                         SET due_at = $3, lease = lease + 1, session = NULL, tries = tries + 1
                         WHERE id = $1 AND lease = $2 AND state = 'pending'",
                    )
                    .await?;
                let due_at = rules::after(look.now, after_ms);
                let changed = transaction
                    .execute(&statement, &[&message.0, &token, &due_at])
                    .await?;
                one(changed)?;
                self.end_claim(&transaction, &slot, end, &look).await?;
            }
            Outcome::Signed(signature) => {
                let signature = Some(text(&signature));
                finish(
                    &transaction,
                    message,
                    token,
                    "signed",
                    &[&signature, &None],
                    &look,
                )
                .await?;
                let notifications =
                    create_notifications(&transaction, message, "signed", &answered, &look).await?;
                self.end_claim(&transaction, &slot, end, &look).await?;
                count(&transaction, notifications).await?;
            }
            Outcome::Failed(error) => {
                let error = Some(text(&error));
                finish(
                    &transaction,
                    message,
                    token,
                    "failed",
                    &[&None, &error],
                    &look,
                )
                .await?;
                let notifications =
                    create_notifications(&transaction, message, "failed", &answered, &look).await?;
                self.end_claim(&transaction, &slot, end, &look).await?;
                count(&transaction, notifications).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }
}

enum Taking {
    SessionLost,
    Failed(StoreError),
}

/// Claims the message. Returns `None` if it was finished meanwhile.
async fn take(
    client: &impl GenericClient,
    message: i64,
    session: i64,
    slot: Slot,
    now: Now,
) -> std::result::Result<Option<Attempt>, Taking> {
    let failed = |error: tokio_postgres::Error| {
        if is_raced(&error) {
            Taking::SessionLost
        } else {
            Taking::Failed(error.into())
        }
    };
    let statement = client
        .prepare_cached(
            "UPDATE bulkhead_messages SET session = $2, leased_at = $3, lease = lease + 1
             WHERE id = $1 AND state = 'pending' AND session IS NULL
             RETURNING lease, text, tries, created_at,
               (SELECT traceparent FROM bulkhead_requests
                WHERE message = $1 ORDER BY number LIMIT 1)",
        )
        .await
        .map_err(failed)?;
    let taken = client
        .query_opt(&statement, &[&message, &session, &now.boot.0])
        .await
        .map_err(failed)?;
    let Some(row) = taken else {
        return Ok(None);
    };
    let attempt = || {
        let tries: i32 = row.try_get("tries")?;
        Ok(Attempt {
            lease: Lease {
                message: MessageId(message),
                token: row.try_get("lease")?,
            },
            slot,
            message: requests::message(&row)?,
            number: tries.unsigned_abs().saturating_add(1),
            created_at: UnixMillis(row.try_get("created_at")?),
            trace: requests::trace(&row)?,
        })
    };
    attempt().map(Some).map_err(Taking::Failed)
}

/// Finishes the message. Its row stays locked, so that no request can join it before the end of the
/// transaction: see `JOIN` in `requests`. The next statement sees all requests that have joined
/// before.
async fn finish(
    client: &impl GenericClient,
    message: MessageId,
    token: i64,
    state: &str,
    [signature, error]: &[&Option<String>; 2],
    look: &Look,
) -> Result<()> {
    let statement = client
        .prepare_cached(
            "UPDATE bulkhead_messages
             SET state = $3, signature = $4, error = $5, finished_at = bulkhead_clock_ms(),
                 ended_at = $6, lease = lease + 1, session = NULL, tries = tries + 1
             WHERE id = $1 AND lease = $2 AND state = 'pending'",
        )
        .await?;
    let changed = client
        .execute(
            &statement,
            &[&message.0, &token, &state, signature, error, &look.now],
        )
        .await?;
    one(changed)
}

/// Creates a notification for each request that waits for this message, except those in `answered`.
/// A request that several callers share gets one in any case.
async fn create_notifications(
    client: &impl GenericClient,
    message: MessageId,
    state: &str,
    answered: &[RequestId],
    look: &Look,
) -> Result<Counted> {
    let statement = client
        .prepare_cached(
            "WITH waited AS (
               UPDATE bulkhead_requests
               SET state = $2, done_at = CASE
                 WHEN callback IS NULL OR (id = ANY ($3) AND NOT shared) THEN $4::bigint END
               WHERE message = $1 AND state = 'pending'
               RETURNING number, host, done_at)
             INSERT INTO bulkhead_notifications (request, host, state, due_at)
             SELECT number, host, 'pending', $4::bigint FROM waited WHERE done_at IS NULL",
        )
        .await?;
    let answered: Vec<&str> = answered.iter().map(RequestId::as_str).collect();
    let notifications = client
        .execute(&statement, &[&message.0, &state, &answered, &look.now])
        .await?;
    Ok(Counted {
        messages_pending: -1,
        notifications_pending: i64::try_from(notifications).unwrap_or(i64::MAX),
        ..Counted::default()
    })
}

/// Returns `LeaseLost` if no row has changed, because the lease is no longer valid.
pub(super) fn one(changed: u64) -> Result<()> {
    if changed == 1 {
        Ok(())
    } else {
        Err(StoreError::LeaseLost)
    }
}
