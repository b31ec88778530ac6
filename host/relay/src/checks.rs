//! Calls other than attempts to sign: verification of a signature, and the key check.

use crate::core::{Relay, report_fault};
use crate::decision::{Decision, UpstreamHealth, of_checking, slot_end};
use crate::environment::{CallResult, Environment};
use crate::error::RelayError;
use crate::health::KeyCheck;
use bulkhead_sandbox::{Checking, Operation, SignedMessage, SigningComponent, Wait};
use bulkhead_store::{BootMillis, Claim, Slot, TraceParent};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Time for which the result of a key check is reused.
const KEY_MS: i64 = 60_000;

/// Suggested delay before a repetition if there is no better estimate.
const RETRY_AFTER_MS: u64 = 1000;

const RETRY_LATER: RelayError = RelayError::Upstream {
    after_ms: RETRY_AFTER_MS,
};

impl<W: Environment> Relay<W> {
    /// Returns whether a signature belongs to a message. The upstream is called only if the signature is
    /// not the one in the store.
    ///
    /// Cancel-safe: a call of the upstream that has begun continues, and counts against the quota.
    ///
    /// # Errors
    /// - [`RelayError::Store`] if the store fails or does not respond by `until`.
    /// - [`RelayError::Upstream`] if no call can be made now, or the call has no result by `until`. The
    ///   call may continue in the background.
    pub async fn verify(
        self: &Arc<Self>,
        signed: SignedMessage,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> Result<bool, RelayError> {
        let known = self.store.signature(signed.message.clone());
        let known = self.within(until, known).await?;
        if known.is_some_and(|signature| signature == signed.signature) {
            return Ok(true);
        }
        self.check(Operation::Verify(signed), trace, until).await
    }

    /// Returns whether the upstream accepts the API key. The upstream is called only if no call of the last
    /// minute shows this. Concurrent calls of this method share one call of the upstream.
    ///
    /// Cancel-safe: a call of the upstream that has begun continues, and its result is remembered.
    ///
    /// # Errors
    /// - [`RelayError::Store`] if the store fails or does not respond by `until`.
    /// - [`RelayError::Upstream`] if no call can be made now, or the call has no result by `until`. The
    ///   call may continue in the background.
    pub async fn test_key(
        self: &Arc<Self>,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> Result<KeyCheck, RelayError> {
        let _turn = tokio::select! {
            biased;
            turn = self.key_check.lock() => turn,
            () = self.environment.sleep_until(until) => return Err(RETRY_LATER),
        };
        if let Some(known) = self.health.key_within(KEY_MS, self.environment.now()) {
            return Ok(known);
        }
        self.check(Operation::CheckKey, trace, until).await?;
        self.health
            .key_within(KEY_MS, self.environment.now())
            .ok_or(RETRY_LATER)
    }

    /// Calls the upstream for an operation, if there is a free slot. The call continues even if the caller
    /// stops waiting.
    async fn check(
        self: &Arc<Self>,
        operation: Operation,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> Result<bool, RelayError> {
        let claimed = self
            .store
            .claim_check(self.settings.checks_max, self.environment.now());
        let slot = match self.within(until, claimed).await? {
            Claim::Acquired(slot) => slot,
            Claim::RetryAfter { after_ms } => {
                return Err(RelayError::Upstream {
                    after_ms: after_ms.unwrap_or(RETRY_AFTER_MS),
                });
            }
        };
        let (sender, receiver) = oneshot::channel();
        let (relay, task) = (Arc::clone(self), self.tasks.begin());
        self.environment.spawn(Box::pin(async move {
            let _gone = sender.send(relay.make_check(&operation, trace, slot).await);
            drop(task);
        }));
        tokio::select! {
            biased;
            outcome = receiver => outcome.ok().flatten(),
            () = self.environment.sleep_until(until) => None,
        }
        .ok_or(RETRY_LATER)
    }

    async fn make_check(
        &self,
        operation: &Operation,
        trace: Option<TraceParent>,
        slot: Slot,
    ) -> Option<bool> {
        let component = self.components.current();
        let result = self
            .call_upstream(&component, operation, trace, &slot)
            .await;
        let end = slot_end(&result);
        let mut decision = self.read_check(&component, operation, result);
        self.hold(decision.hold_ms).await;
        let is_key = matches!(operation, Operation::CheckKey);
        if is_key && decision.outcome == Some(false) {
            decision.upstream =
                UpstreamHealth::Rejecting("the upstream rejects the API key".into());
        }
        self.note(&decision.upstream, !is_key && decision.outcome.is_some());
        if let (true, Some(valid)) = (is_key, decision.outcome) {
            self.health.key(valid, self.environment.now());
        }
        self.persist(|now| self.store.end_check(slot.clone(), end, now))
            .await;
        decision.outcome
    }

    fn read_check(
        &self,
        component: &SigningComponent,
        operation: &Operation,
        result: CallResult,
    ) -> Decision<Option<bool>> {
        let (reply, precise_reason) = result.into_reply();
        let situation = self.situation(1, self.environment.now().wall);
        let read = match operation {
            Operation::CheckKey => component.read_key_check(&reply, situation),
            Operation::Verify(_) | Operation::Sign(_) => {
                component.read_verification(&reply, situation)
            }
        };
        let checking = read.unwrap_or_else(|fault| {
            Checking::Unknown(Wait {
                after_ms: RETRY_AFTER_MS,
                reason: report_fault(&fault),
            })
        });
        of_checking(checking, precise_reason)
    }
}
