//! Calls that are no tries: whether a signature belongs to a message, whether our key is good.

use crate::calls::{ask, said};
use crate::conclusion::{Conclusion, Mood, of_checking, slot_end};
use crate::condition::KeyCheck;
use crate::relay::{Relay, Unable, unable};
use crate::world::World;
use bulkhead_sandbox::{Checking, Claim, Question, SigningComponent, Wait};
use bulkhead_store::{Begun, BootMillis, Slot, TraceParent};
use std::sync::Arc;
use tokio::sync::{Mutex, oneshot};

/// What is known of the key is good for so long.
const KEY_MS: i64 = 60_000;

/// Where nothing better is known.
const ASK_AGAIN_MS: u64 = 1000;

/// One check of the key at a time: whoever comes meanwhile gets what it finds.
#[derive(Default)]
pub(crate) struct Checks {
    key: Mutex<()>,
}

impl<W: World> Relay<W> {
    /// Whether a signature belongs to a message: without a call where that is known here.
    pub async fn verify(
        self: &Arc<Self>,
        claim: Claim,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> Result<bool, Unable> {
        let known = self.store.signature(claim.message.clone());
        let known = self.within(until, known).await.map_err(unable)?;
        if known.is_some_and(|signature| signature == claim.signature) {
            return Ok(true);
        }
        self.check(Question::Verify(claim), trace, until).await
    }

    /// Whether the upstream takes our key.
    pub async fn test_key(
        self: &Arc<Self>,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> Result<KeyCheck, Unable> {
        let again = Unable::Upstream {
            after_ms: ASK_AGAIN_MS,
        };
        let _turn = tokio::select! {
            biased;
            turn = self.checks.key.lock() => turn,
            () = self.world.sleep_until(until) => return Err(again),
        };
        if let Some(known) = self.conditions.key_within(KEY_MS, self.world.now()) {
            return Ok(known);
        }
        self.check(Question::CheckKey, trace, until).await?;
        self.conditions
            .key_within(KEY_MS, self.world.now())
            .ok_or(again)
    }

    /// Makes a call for a question, if there is a slot for it. It goes to its end, also where nobody
    /// waits any more.
    async fn check(
        self: &Arc<Self>,
        question: Question,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> Result<bool, Unable> {
        let begun = self
            .store
            .begin_check(self.settings.checks_max, self.world.now());
        let slot = match self.within(until, begun).await.map_err(unable)? {
            Begun::Now(slot) => slot,
            Begun::Later { after_ms } => {
                return Err(Unable::Upstream {
                    after_ms: after_ms.unwrap_or(ASK_AGAIN_MS),
                });
            }
        };
        let (sender, receiver) = oneshot::channel();
        let (relay, task) = (Arc::clone(self), self.tasks.begin());
        self.world.spawn(Box::pin(async move {
            let _gone = sender.send(relay.make_check(&question, trace, slot).await);
            drop(task);
        }));
        tokio::select! {
            biased;
            answer = receiver => answer.ok().flatten(),
            () = self.world.sleep_until(until) => None,
        }
        .ok_or(Unable::Upstream {
            after_ms: ASK_AGAIN_MS,
        })
    }

    async fn make_check(
        &self,
        question: &Question,
        trace: Option<TraceParent>,
        slot: Slot,
    ) -> Option<bool> {
        let component = self.components.current();
        let heard = ask(self, &component, question, trace, &slot).await;
        let end = slot_end(&heard);
        let mut conclusion = self.read_check(&component, question, heard);
        self.hold(conclusion.hold_ms).await;
        let is_key = matches!(question, Question::CheckKey);
        if is_key && conclusion.outcome == Some(false) {
            conclusion.mood = Mood::Refusing("the upstream refuses our key".into());
        }
        self.note(&conclusion.mood, !is_key && conclusion.outcome.is_some());
        if let (true, Some(valid)) = (is_key, conclusion.outcome) {
            self.conditions.key(valid, self.world.now());
        }
        self.persist(|now| self.store.end_check(slot.clone(), end, now))
            .await;
        conclusion.outcome
    }

    fn read_check(
        &self,
        component: &SigningComponent,
        question: &Question,
        heard: crate::world::Heard,
    ) -> Conclusion<Option<bool>> {
        let (reply, known_better) = heard.into_reply();
        let situation = self.situation(1, self.world.now().wall);
        let read = match question {
            Question::CheckKey => component.read_key_check(&reply, situation),
            Question::Verify(_) | Question::Sign(_) => {
                component.read_verification(&reply, situation)
            }
        };
        let checking = read.unwrap_or_else(|fault| {
            Checking::Unknown(Wait {
                after_ms: ASK_AGAIN_MS,
                why: said(&fault),
            })
        });
        of_checking(checking, known_better)
    }
}
