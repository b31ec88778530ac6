//! Attempts to have messages signed: the loop that claims them, calls the upstream and stores the results.

use crate::core::{FAULT_WAIT_MS, Relay, STORE_PAUSE_MS, report_fault};
use crate::decision::{Decision, of_signing, slot_end};
use crate::environment::{CallResult, Environment, Point};
use crate::waiters::SigningResult;
use bulkhead_sandbox::{Operation, Signing, SigningComponent, Wait};
use bulkhead_store::{Attempt, BootMillis, Claim, Outcome};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Messages with a running attempt in this process.
type UnderWay = Arc<Mutex<BTreeSet<String>>>;

/// Claims attempts whenever there are messages and slots, and starts a call for each, forever.
pub(crate) async fn make<W: Environment>(relay: Arc<Relay<W>>) {
    let under_way = UnderWay::default();
    loop {
        let task = relay.tasks.begin();
        let wait_ms = match begin(&relay, &under_way).await {
            Claim::Acquired(claimed) => {
                locked(&under_way).insert(claimed.message.clone());
                let (relay, under_way) = (Arc::clone(&relay), Arc::clone(&under_way));
                let environment = Arc::clone(&relay.environment);
                environment.spawn(Box::pin(async move {
                    let message = claimed.message.clone();
                    make_one(&relay, claimed).await;
                    drop(task);
                    locked(&under_way).remove(&message);
                    relay.call.notify_one();
                }));
                continue;
            }
            Claim::RetryAfter { after_ms } => relay.pause_ms(after_ms),
        };
        drop(task);
        tokio::select! {
            biased;
            () = relay.call.notified() => {}
            () = relay.sleep_ms(wait_ms) => {}
        }
    }
}

fn locked(under_way: &UnderWay) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn begin<W: Environment>(relay: &Relay<W>, under_way: &UnderWay) -> Claim<Attempt> {
    // While the upstream rejects the key or the address, only one call at a time probes it.
    let rejecting = relay.health.is_rejecting() && !locked(under_way).is_empty();
    if rejecting || relay.tasks.are_ending() {
        return Claim::RetryAfter { after_ms: None };
    }
    let waiting = relay.waiters.next();
    let now = relay.environment.now();
    let claimed = relay.noted(relay.store.claim_attempt(now).await);
    let claimed = claimed.unwrap_or(Claim::RetryAfter {
        after_ms: Some(STORE_PAUSE_MS),
    });
    if let Claim::RetryAfter { after_ms } = claimed {
        let at = after_ms.map(|ms| BootMillis(now.boot.0.saturating_add_unsigned(ms)));
        relay
            .waiters
            .release_expired(waiting, at, |message| locked(under_way).contains(message));
    }
    claimed
}

async fn make_one<W: Environment>(relay: &Relay<W>, claimed: Attempt) {
    relay.environment.reached(Point::Claimed);
    let operation = Operation::Sign(claimed.message.clone());
    let component = relay.components.current();
    let result = relay
        .call_upstream(&component, &operation, claimed.trace.clone(), &claimed.slot)
        .await;
    relay.environment.reached(Point::Called);
    let end = slot_end(&result);
    if matches!(&result, CallResult::Response(response) if [401, 403].contains(&response.status)) {
        relay.health.key(false, relay.environment.now());
    }
    let decision = decide(relay, &component, &claimed, result);
    relay.hold(decision.hold_ms).await;
    relay.note(
        &decision.upstream,
        matches!(decision.outcome, Outcome::Signed(_)),
    );
    let finished: Option<SigningResult> = match &decision.outcome {
        Outcome::Signed(signature) => Some(Ok(signature.clone())),
        Outcome::Failed(error) => Some(Err(error.clone())),
        Outcome::Retry { .. } => None,
    };
    let (stored, when_stored) = watch::channel(());
    let answered = finished.map(|result| {
        relay
            .waiters
            .resolve(&claimed.message, &result, &when_stored)
    });
    let answered = answered.unwrap_or_default();
    relay
        .persist(|now| {
            let (claimed, outcome) = (claimed.clone(), decision.outcome.clone());
            relay
                .store
                .finish_attempt(claimed, end, outcome, answered.clone(), now)
        })
        .await;
    relay.environment.reached(Point::Finished);
    drop(stored);
    if !matches!(decision.outcome, Outcome::Retry { .. }) {
        relay.notify.notify_one();
    }
}

fn decide<W: Environment>(
    relay: &Relay<W>,
    component: &SigningComponent,
    claimed: &Attempt,
    result: CallResult,
) -> Decision<Outcome> {
    let (reply, precise_reason) = result.into_reply();
    let situation = relay.situation(claimed.number, claimed.created_at);
    let signing = component.read_signature(
        &reply,
        &claimed.message,
        relay.settings.public_key.as_deref(),
        situation,
        relay.settings.pace_ms(),
    );
    let signing = signing.unwrap_or_else(|fault| {
        Signing::Retry(Wait {
            after_ms: FAULT_WAIT_MS,
            reason: report_fault(&fault),
        })
    });
    of_signing(signing, precise_reason)
}
