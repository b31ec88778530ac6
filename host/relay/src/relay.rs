//! What callers ask of the relay.

use crate::checks::Checks;
use crate::condition::{Condition, Conditions};
use crate::metrics::RelayMetrics;
use crate::settings::Settings;
use crate::tasks::Tasks;
use crate::waiters::{Found, Waiters, Word};
use crate::world::{Point, World};
use crate::{calls, notifications, upkeep};
use bulkhead_sandbox::SigningComponent;
use bulkhead_store::{
    Accepted, BootMillis, Doing, NewRequest, Redelivery, RequestId, RequestView, Store, StoreError,
};
use std::sync::Arc;
use tokio::sync::Notify;

/// The relay. What it does by itself are tasks of its world, which end with that.
pub struct Relay<W> {
    pub(crate) world: Arc<W>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) components: Box<dyn SigningComponents>,
    pub(crate) settings: Settings,
    pub(crate) waiters: Waiters,
    pub(crate) conditions: Conditions,
    pub(crate) checks: Checks,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: RelayMetrics,
    /// There may be something to call for.
    pub(crate) call: Notify,
    /// There may be somebody to notify.
    pub(crate) notify: Notify,
}

/// The signing component in force, which can be swapped while the relay runs. A question and its answer go to
/// the same component.
pub trait SigningComponents: Send + Sync + 'static {
    /// Returns the component for a new question.
    fn current(&self) -> Arc<SigningComponent>;
}

/// Always this one.
impl SigningComponents for Arc<SigningComponent> {
    fn current(&self) -> Self {
        Self::clone(self)
    }
}

/// What a caller gets for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// The signature.
    Now {
        /// Of the request.
        id: RequestId,
        /// As the upstream wrote it.
        signature: String,
    },
    /// It is stored, and will be signed.
    Later {
        /// Of the request.
        id: RequestId,
        /// Milliseconds until it is worth to ask.
        after_ms: u64,
    },
    /// There will be no signature.
    Never {
        /// Of the request.
        id: RequestId,
        /// Why.
        error: String,
    },
}

/// Why a caller gets nothing of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unable {
    /// Too many messages wait. Nothing was stored.
    BacklogFull {
        /// Milliseconds until there may be room.
        after_ms: u64,
    },
    /// Too many requests wait for this message. Nothing was stored.
    CallersFull {
        /// Milliseconds until the message may be signed.
        after_ms: u64,
    },
    /// It did not do it, or not in time. It may be stored all the same; to ask again does no harm.
    Store,
    /// No call can be made for this now, or it came to nothing.
    Upstream {
        /// Milliseconds until it is worth to ask.
        after_ms: u64,
    },
}

impl<W: World> Relay<W> {
    /// Makes a relay and starts what it does by itself.
    pub fn start(
        world: Arc<W>,
        store: Arc<dyn Store>,
        components: impl SigningComponents,
        settings: Settings,
        metrics: RelayMetrics,
    ) -> Arc<Self> {
        let relay = Arc::new(Self {
            world,
            store,
            components: Box::new(components),
            settings,
            waiters: Waiters::default(),
            conditions: Conditions::new(),
            checks: Checks::default(),
            tasks: Tasks::new(),
            metrics,
            call: Notify::new(),
            notify: Notify::new(),
        });
        let tasks: [crate::Going<'static, ()>; 3] = [
            Box::pin(calls::make(Arc::clone(&relay))),
            Box::pin(notifications::make(Arc::clone(&relay))),
            Box::pin(upkeep::run(Arc::clone(&relay))),
        ];
        for task in tasks {
            relay.world.spawn(task);
        }
        relay
    }

    /// Has a message signed: at once if that is possible before `until`, else later. What is answered
    /// with [`Signed::Later`] is durable.
    pub async fn sign(&self, new: NewRequest, until: BootMillis) -> Result<Signed, Unable> {
        // Before it is stored, or a result could come in between.
        let mut place = self.waiters.wait(&new.message, &new.id, until);
        let (own, backlog_max) = (new.id.clone(), self.settings.backlog_max);
        let accepted = self
            .within(until, self.store.accept(new, backlog_max, self.world.now()))
            .await;
        let id = match accepted {
            Ok(Accepted::Signed { id, signature }) => return Ok(Signed::Now { id, signature }),
            Ok(Accepted::Failed { id, error }) => return Ok(Signed::Never { id, error }),
            Ok(Accepted::Pending(id)) => id,
            // Who shares its message may have got it signed meanwhile.
            other => {
                return match (place.leave(), other) {
                    (Some(Word::Found { found, .. }), _) => Ok(answer(own, found)),
                    (_, Ok(Accepted::CallersFull)) => Err(Unable::CallersFull {
                        after_ms: self.expected_ms(),
                    }),
                    (_, Ok(_)) => Err(Unable::BacklogFull {
                        after_ms: self.settings.pace_ms(),
                    }),
                    (_, Err(_)) => Err(Unable::Store),
                };
            }
        };
        self.world.reached(Point::Accepted);
        self.conditions.store_wrote();
        self.call.notify_one();
        let word = tokio::select! {
            biased;
            word = &mut place.word => word.ok(),
            () = self.world.sleep_until(until) => place.leave(),
        };
        match word {
            Some(Word::Found { found, mut stored }) => {
                // It is true whether it is stored or not, but who asks for the request right after
                // the answer should find it signed.
                tokio::select! {
                    biased;
                    _closed = stored.changed() => {}
                    () = self.world.sleep_until(until) => {}
                }
                Ok(answer(id, found))
            }
            Some(Word::NotNow) | None => Ok(Signed::Later {
                id,
                after_ms: self.expected_ms(),
            }),
        }
    }

    /// A request as its caller may see it.
    pub async fn request(
        &self,
        id: RequestId,
        until: BootMillis,
    ) -> Result<Option<RequestView>, Unable> {
        let request = self.store.request(id, self.world.now());
        self.within(until, request).await.map_err(unable)
    }

    /// Makes a notification due, whatever became of it.
    pub async fn redeliver(&self, id: RequestId, until: BootMillis) -> Result<Redelivery, Unable> {
        let redelivery = self.store.redeliver(id, self.world.now());
        let redelivery = self.within(until, redelivery).await.map_err(unable)?;
        self.notify.notify_one();
        Ok(redelivery)
    }

    /// Makes no further call and no further notification, and waits until those under way have ended
    /// and what came of them is stored. What is dropped before that is as after a crash: a receiver may
    /// be told twice.
    pub async fn end(&self) {
        self.tasks.end().await;
    }

    /// How the upstream and the store are.
    pub fn condition(&self) -> Condition {
        self.conditions.get()
    }

    /// What the store does, for as long as somebody waits for it.
    pub(crate) async fn within<T>(
        &self,
        until: BootMillis,
        doing: Doing<'_, T>,
    ) -> Result<T, StoreError> {
        let result = tokio::select! {
            biased;
            result = doing => result,
            () = self.world.sleep_until(until) => {
                Err(StoreError::Unavailable("it did not answer in time".into()))
            }
        };
        self.conditions.store(result, self.world.now())
    }

    /// What a message that is accepted now has to expect: all those before it have their turn first.
    fn expected_ms(&self) -> u64 {
        let standing = self.conditions.get().standing.unwrap_or_default();
        let turns = standing
            .backlog
            .max(1)
            .saturating_mul(self.settings.pace_ms());
        turns.saturating_add(standing.held_ms)
    }
}

fn answer(id: RequestId, found: Found) -> Signed {
    match found {
        Ok(signature) => Signed::Now { id, signature },
        Err(error) => Signed::Never { id, error },
    }
}

pub(crate) fn unable(_logged: StoreError) -> Unable {
    Unable::Store
}
