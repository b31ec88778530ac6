//! Tries of messages: claim a slot, call, store what came of it.

use crate::decision::{Decision, UpstreamHealth, of_signing, slot_end};
use crate::environment::{CallResult, Environment, Point};
use crate::relay::Relay;
use crate::waiters::SigningResult;
use bulkhead_sandbox::{Fault, Judge, Question, Signing, Situation, Wait};
use bulkhead_store::{Attempt, BootMillis, Claim, Outcome, Slot, StoreError, TraceParent};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Pause after an error of the store.
pub(crate) const STORE_PAUSE_MS: u64 = 500;

/// Wait where the component did not come to a decision.
pub(crate) const FAULT_WAIT_MS: u64 = 60_000;

/// Messages that are being tried here.
type UnderWay = Arc<Mutex<BTreeSet<String>>>;

/// Makes calls for as long as there are messages and slots.
pub(crate) async fn make<W: Environment>(relay: Arc<Relay<W>>) {
    let under_way = UnderWay::default();
    loop {
        let task = relay.tasks.begin();
        let wait_ms = match begin(&relay, &under_way).await {
            Claim::Acquired(claimed) => {
                all(&under_way).insert(claimed.message.clone());
                let (relay, under_way) = (Arc::clone(&relay), Arc::clone(&under_way));
                let environment = Arc::clone(&relay.environment);
                environment.spawn(Box::pin(async move {
                    let message = claimed.message.clone();
                    make_one(&relay, claimed).await;
                    drop(task);
                    all(&under_way).remove(&message);
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

fn all(under_way: &UnderWay) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn begin<W: Environment>(relay: &Relay<W>, under_way: &UnderWay) -> Claim<Attempt> {
    // One that was refused for what we are asks again with one call at a time.
    let refused = relay.health.is_refused() && !all(under_way).is_empty();
    if refused || relay.tasks.are_ending() {
        return Claim::RetryAfter { after_ms: None };
    }
    let waiting = relay.waiters.next();
    let now = relay.environment.now();
    let claimed = relay.store.claim_attempt(now).await;
    let claimed = relay.health.store(claimed, relay.environment.now());
    let claimed = claimed.unwrap_or(Claim::RetryAfter {
        after_ms: Some(STORE_PAUSE_MS),
    });
    if let Claim::RetryAfter { after_ms } = claimed {
        let at = after_ms.map(|ms| BootMillis(now.boot.0.saturating_add_unsigned(ms)));
        relay
            .waiters
            .release_expired(waiting, at, |message| all(under_way).contains(message));
    }
    claimed
}

async fn make_one<W: Environment>(relay: &Relay<W>, claimed: Attempt) {
    relay.environment.reached(Point::Claimed);
    let question = Question::Sign(claimed.message.clone());
    let judge = relay.judges.current();
    let result = ask(
        relay,
        &judge,
        &question,
        claimed.trace.clone(),
        &claimed.slot,
    )
    .await;
    relay.environment.reached(Point::Heard);
    let end = slot_end(&result);
    if matches!(&result, CallResult::Answer(answer) if [401, 403].contains(&answer.status)) {
        relay.health.key(false, relay.environment.now());
    }
    let decision = decide(relay, &judge, &claimed, result);
    relay.hold(decision.hold_ms).await;
    relay.note(
        &decision.upstream,
        matches!(decision.outcome, Outcome::Signed(_)),
    );
    let finished: Option<SigningResult> = match &decision.outcome {
        Outcome::Signed(signature) => Some(Ok(signature.clone())),
        Outcome::Failed(error) => Some(Err(error.clone())),
        Outcome::Again { .. } => None,
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
    if !matches!(decision.outcome, Outcome::Again { .. }) {
        relay.notify.notify_one();
    }
}

/// Asks the upstream within a slot.
pub(crate) async fn ask<W: Environment>(
    relay: &Relay<W>,
    judge: &Judge,
    question: &Question,
    trace: Option<TraceParent>,
    slot: &Slot,
) -> CallResult {
    let start = relay.environment.now();
    let result = match judge.target(question) {
        Ok(target) => relay.environment.ask(target, trace, slot.send_before).await,
        Err(fault) => CallResult::Unsent(said(&fault)),
    };
    let took_ms = relay.environment.now().boot.0 - start.boot.0;
    relay.metrics.called(question, &result, took_ms);
    result
}

/// Logs a fault of the component; for the operator it is why something goes no further.
pub(crate) fn said(fault: &Fault) -> String {
    tracing::error!(%fault, "the signing component ended early");
    "the signing component ended early".to_owned()
}

fn decide<W: Environment>(
    relay: &Relay<W>,
    judge: &Judge,
    claimed: &Attempt,
    result: CallResult,
) -> Decision<Outcome> {
    let (reply, known_better) = result.into_reply();
    let situation = relay.situation(claimed.number, claimed.created_at);
    let signing = judge.read_signature(
        &reply,
        &claimed.message,
        relay.settings.public_key.as_deref(),
        situation,
        relay.settings.pace_ms(),
    );
    let signing = signing.unwrap_or_else(|fault| {
        Signing::Again(Wait {
            after_ms: FAULT_WAIT_MS,
            why: said(&fault),
        })
    });
    of_signing(signing, known_better)
}

impl<W: Environment> Relay<W> {
    /// How long there is nothing to do; never no time at all, or a loop could spin.
    pub(crate) fn pause_ms(&self, after_ms: Option<u64>) -> u64 {
        let most = self.settings.look_again_ms;
        after_ms.unwrap_or(most).min(most).max(1)
    }

    pub(crate) fn sleep_ms(&self, ms: u64) -> crate::BoxFuture<'static, ()> {
        let at = self.environment.now().boot.0.saturating_add_unsigned(ms);
        self.environment.sleep_until(BootMillis(at))
    }

    pub(crate) fn situation(&self, tries: u32, since: bulkhead_store::UnixMillis) -> Situation {
        let now = self.environment.now().wall.0;
        let random = self.environment.random();
        Situation {
            tries,
            age_ms: u64::try_from(now - since.0).unwrap_or(0),
            now_ms: u64::try_from(now).unwrap_or(0),
            random: u64::try_from(random & u128::from(u64::MAX)).unwrap_or(0),
        }
    }

    /// No call for so long. Written down before the slot comes free.
    pub(crate) async fn hold(&self, for_ms: Option<u64>) {
        if let Some(for_ms) = for_ms {
            self.persist(|now| self.store.hold_calls(for_ms, now)).await;
        }
    }

    /// Takes a call's meaning for the upstream and our key down.
    pub(crate) fn note(&self, upstream: &UpstreamHealth, key_is_good: bool) {
        let now = self.environment.now();
        if key_is_good {
            self.health.key(true, now);
        }
        self.health.upstream(upstream.clone(), now);
    }

    /// Does not give up to have something stored that nobody else knows; a lost lease ends it too.
    pub(crate) async fn persist<'a>(
        &'a self,
        mut operation: impl FnMut(bulkhead_store::Now) -> bulkhead_store::StoreFuture<'a, ()>,
    ) {
        loop {
            let done = operation(self.environment.now()).await;
            match self.health.store(done, self.environment.now()) {
                Ok(()) => return self.health.store_wrote(),
                Err(StoreError::LeaseLost) => return,
                Err(_) => self.sleep_ms(STORE_PAUSE_MS).await,
            }
        }
    }
}
