//! Tries of messages: claim a slot, call, store what came of it.

use crate::conclusion::{Conclusion, Mood, of_signing, slot_end};
use crate::relay::Relay;
use crate::waiters::Found;
use crate::world::{Heard, Point, World};
use bulkhead_sandbox::{Fault, Question, Signing, SigningComponent, Situation, Wait};
use bulkhead_store::{Begun, BootMillis, Outcome, Slot, StoreError, TraceParent, Try};
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
pub(crate) async fn make<W: World>(relay: Arc<Relay<W>>) {
    let under_way = UnderWay::default();
    loop {
        let task = relay.tasks.begin();
        let wait_ms = match begin(&relay, &under_way).await {
            Begun::Now(begun) => {
                all(&under_way).insert(begun.message.clone());
                let (relay, under_way) = (Arc::clone(&relay), Arc::clone(&under_way));
                let world = Arc::clone(&relay.world);
                world.spawn(Box::pin(async move {
                    let message = begun.message.clone();
                    make_one(&relay, begun).await;
                    drop(task);
                    all(&under_way).remove(&message);
                    relay.call.notify_one();
                }));
                continue;
            }
            Begun::Later { after_ms } => relay.pause_ms(after_ms),
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

async fn begin<W: World>(relay: &Relay<W>, under_way: &UnderWay) -> Begun<Try> {
    // One that was refused for what we are asks again with one call at a time.
    let refused = relay.conditions.is_refused() && !all(under_way).is_empty();
    if refused || relay.tasks.are_ending() {
        return Begun::Later { after_ms: None };
    }
    let waiting = relay.waiters.next();
    let now = relay.world.now();
    let begun = relay.store.begin_try(now).await;
    let begun = relay.conditions.store(begun, relay.world.now());
    let begun = begun.unwrap_or(Begun::Later {
        after_ms: Some(STORE_PAUSE_MS),
    });
    if let Begun::Later { after_ms } = begun {
        let at = after_ms.map(|ms| BootMillis(now.boot.0.saturating_add_unsigned(ms)));
        relay
            .waiters
            .pass_over(waiting, at, |message| all(under_way).contains(message));
    }
    begun
}

async fn make_one<W: World>(relay: &Relay<W>, begun: Try) {
    relay.world.reached(Point::Claimed);
    let question = Question::Sign(begun.message.clone());
    let component = relay.components.current();
    let heard = ask(
        relay,
        &component,
        &question,
        begun.trace.clone(),
        &begun.slot,
    )
    .await;
    relay.world.reached(Point::Heard);
    let end = slot_end(&heard);
    if matches!(&heard, Heard::Answer(answer) if [401, 403].contains(&answer.status)) {
        relay.conditions.key(false, relay.world.now());
    }
    let conclusion = conclude(relay, &component, &begun, heard);
    relay.hold(conclusion.hold_ms).await;
    relay.note(
        &conclusion.mood,
        matches!(conclusion.outcome, Outcome::Signed(_)),
    );
    let found: Option<Found> = match &conclusion.outcome {
        Outcome::Signed(signature) => Some(Ok(signature.clone())),
        Outcome::Failed(error) => Some(Err(error.clone())),
        Outcome::Again { .. } => None,
    };
    let (stored, when_stored) = watch::channel(());
    let answered = found.map(|found| relay.waiters.found(&begun.message, &found, &when_stored));
    let answered = answered.unwrap_or_default();
    relay
        .persist(|now| {
            let (begun, outcome) = (begun.clone(), conclusion.outcome.clone());
            relay
                .store
                .finish_try(begun, end, outcome, answered.clone(), now)
        })
        .await;
    relay.world.reached(Point::Finished);
    drop(stored);
    if !matches!(conclusion.outcome, Outcome::Again { .. }) {
        relay.notify.notify_one();
    }
}

/// Asks the upstream within a slot.
pub(crate) async fn ask<W: World>(
    relay: &Relay<W>,
    component: &SigningComponent,
    question: &Question,
    trace: Option<TraceParent>,
    slot: &Slot,
) -> Heard {
    let start = relay.world.now();
    let heard = match component.target(question) {
        Ok(target) => relay.world.ask(target, trace, slot.send_before).await,
        Err(fault) => Heard::Unsent(said(&fault)),
    };
    let took_ms = relay.world.now().boot.0 - start.boot.0;
    relay.metrics.called(question, &heard, took_ms);
    heard
}

/// Logs a fault of the component; for the operator it is why something goes no further.
pub(crate) fn said(fault: &Fault) -> String {
    tracing::error!(%fault, "the signing component ended early");
    "the signing component ended early".to_owned()
}

fn conclude<W: World>(
    relay: &Relay<W>,
    component: &SigningComponent,
    begun: &Try,
    heard: Heard,
) -> Conclusion<Outcome> {
    let (reply, known_better) = heard.into_reply();
    let situation = relay.situation(begun.number, begun.created_at);
    let signing = component.read_signature(
        &reply,
        &begun.message,
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

impl<W: World> Relay<W> {
    /// How long there is nothing to do; never no time at all, or a loop could spin.
    pub(crate) fn pause_ms(&self, after_ms: Option<u64>) -> u64 {
        let most = self.settings.look_again_ms;
        after_ms.unwrap_or(most).min(most).max(1)
    }

    pub(crate) fn sleep_ms(&self, ms: u64) -> crate::Going<'static, ()> {
        let at = self.world.now().boot.0.saturating_add_unsigned(ms);
        self.world.sleep_until(BootMillis(at))
    }

    pub(crate) fn situation(&self, tries: u32, since: bulkhead_store::UnixMillis) -> Situation {
        let now = self.world.now().wall.0;
        let random = self.world.random();
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
    pub(crate) fn note(&self, mood: &Mood, key_is_good: bool) {
        let now = self.world.now();
        if key_is_good {
            self.conditions.key(true, now);
        }
        self.conditions.upstream(mood.clone(), now);
    }

    /// Does not give up to have something stored that nobody else knows; a lost lease ends it too.
    pub(crate) async fn persist<'a>(
        &'a self,
        mut doing: impl FnMut(bulkhead_store::Now) -> bulkhead_store::Doing<'a, ()>,
    ) {
        loop {
            let done = doing(self.world.now()).await;
            match self.conditions.store(done, self.world.now()) {
                Ok(()) => return self.conditions.store_wrote(),
                Err(StoreError::LeaseLost) => return,
                Err(_) => self.sleep_ms(STORE_PAUSE_MS).await,
            }
        }
    }
}
