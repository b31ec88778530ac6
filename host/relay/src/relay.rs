//! What callers ask of the relay.

use crate::checks::Checks;
use crate::environment::{Environment, Point};
use crate::health::{HealthState, RelayHealth};
use crate::metrics::RelayMetrics;
use crate::settings::Settings;
use crate::tasks::Tasks;
use crate::waiters::{SigningResult, WaitResult, Waiters};
use crate::{calls, maintenance, notifications};
use bulkhead_sandbox::Judge;
use bulkhead_store::{
    Accepted, BootMillis, NewRequest, Redelivery, RequestId, RequestView, Store, StoreError,
    StoreFuture,
};
use std::sync::Arc;
use tokio::sync::Notify;

/// The relay. What it does by itself are tasks of its world, which end with that.
pub struct Relay<W> {
    pub(crate) environment: Arc<W>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) judges: Box<dyn Judges>,
    pub(crate) settings: Settings,
    pub(crate) waiters: Waiters,
    pub(crate) health: HealthState,
    pub(crate) checks: Checks,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: RelayMetrics,
    /// There may be something to call for.
    pub(crate) call: Notify,
    /// There may be somebody to notify.
    pub(crate) notify: Notify,
}

/// Knows who judges: the component can be exchanged while the relay runs. What belongs together, a
/// question and its answer, goes to the same one.
pub trait Judges: Send + Sync + 'static {
    /// The one to begin with now.
    fn current(&self) -> Arc<Judge>;
}

/// Always this one.
impl Judges for Arc<Judge> {
    fn current(&self) -> Self {
        Self::clone(self)
    }
}

/// What a caller gets for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignOutcome {
    /// The signature.
    Signed {
        /// Of the request.
        id: RequestId,
        /// As the upstream wrote it.
        signature: String,
    },
    /// It is stored, and will be signed.
    Pending {
        /// Of the request.
        id: RequestId,
        /// Milliseconds until it is worth to ask.
        after_ms: u64,
    },
    /// There will be no signature.
    Rejected {
        /// Of the request.
        id: RequestId,
        /// Why.
        error: String,
    },
}

/// Why a caller gets nothing of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayError {
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

impl<W: Environment> Relay<W> {
    /// Makes a relay and starts what it does by itself.
    pub fn start(
        environment: Arc<W>,
        store: Arc<dyn Store>,
        judges: impl Judges,
        settings: Settings,
        metrics: RelayMetrics,
    ) -> Arc<Self> {
        let relay = Arc::new(Self {
            environment,
            store,
            judges: Box::new(judges),
            settings,
            waiters: Waiters::default(),
            health: HealthState::new(),
            checks: Checks::default(),
            tasks: Tasks::new(),
            metrics,
            call: Notify::new(),
            notify: Notify::new(),
        });
        let tasks: [crate::BoxFuture<'static, ()>; 3] = [
            Box::pin(calls::make(Arc::clone(&relay))),
            Box::pin(notifications::make(Arc::clone(&relay))),
            Box::pin(maintenance::run(Arc::clone(&relay))),
        ];
        for task in tasks {
            relay.environment.spawn(task);
        }
        relay
    }

    /// Has a message signed: at once if that is possible before `until`, else later. What is answered
    /// with [`SignOutcome::Pending`] is durable.
    pub async fn sign(
        &self,
        new: NewRequest,
        until: BootMillis,
    ) -> Result<SignOutcome, RelayError> {
        // Before it is stored, or a result could come in between.
        let mut handle = self.waiters.wait(&new.message, &new.id, until);
        let (own, backlog_max) = (new.id.clone(), self.settings.backlog_max);
        let accepted = self
            .within(
                until,
                self.store.accept(new, backlog_max, self.environment.now()),
            )
            .await;
        let id = match accepted {
            Ok(Accepted::Signed { id, signature }) => {
                return Ok(SignOutcome::Signed { id, signature });
            }
            Ok(Accepted::Failed { id, error }) => return Ok(SignOutcome::Rejected { id, error }),
            Ok(Accepted::Pending(id)) => id,
            // Who shares its message may have got it signed meanwhile.
            other => {
                return match (handle.leave(), other) {
                    (Some(WaitResult::Finished { result, .. }), _) => Ok(answer(own, result)),
                    (_, Ok(Accepted::CallersFull)) => Err(RelayError::CallersFull {
                        after_ms: self.expected_ms(),
                    }),
                    (_, Ok(_)) => Err(RelayError::BacklogFull {
                        after_ms: self.settings.pace_ms(),
                    }),
                    (_, Err(_)) => Err(RelayError::Store),
                };
            }
        };
        self.environment.reached(Point::Accepted);
        self.health.store_wrote();
        self.call.notify_one();
        let wait_result = tokio::select! {
            biased;
            result = &mut handle.result => result.ok(),
            () = self.environment.sleep_until(until) => handle.leave(),
        };
        match wait_result {
            Some(WaitResult::Finished { result, mut stored }) => {
                // It is true whether it is stored or not, but who asks for the request right after
                // the answer should find it signed.
                tokio::select! {
                    biased;
                    _closed = stored.changed() => {}
                    () = self.environment.sleep_until(until) => {}
                }
                Ok(answer(id, result))
            }
            Some(WaitResult::Released) | None => Ok(SignOutcome::Pending {
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
    ) -> Result<Option<RequestView>, RelayError> {
        let request = self.store.request(id, self.environment.now());
        self.within(until, request).await.map_err(unable)
    }

    /// Makes a notification due, whatever became of it.
    pub async fn redeliver(
        &self,
        id: RequestId,
        until: BootMillis,
    ) -> Result<Redelivery, RelayError> {
        let redelivery = self.store.redeliver(id, self.environment.now());
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
    pub fn health(&self) -> RelayHealth {
        self.health.get()
    }

    /// What the store does, for as long as somebody waits for it.
    pub(crate) async fn within<T>(
        &self,
        until: BootMillis,
        operation: StoreFuture<'_, T>,
    ) -> Result<T, StoreError> {
        let result = tokio::select! {
            biased;
            result = operation => result,
            () = self.environment.sleep_until(until) => {
                Err(StoreError::Unavailable("it did not answer in time".into()))
            }
        };
        self.health.store(result, self.environment.now())
    }

    /// What a message that is accepted now has to expect: all those before it have their turn first.
    fn expected_ms(&self) -> u64 {
        let stats = self.health.get().stats.unwrap_or_default();
        let turns = stats.backlog.max(1).saturating_mul(self.settings.pace_ms());
        turns.saturating_add(stats.held_ms)
    }
}

fn answer(id: RequestId, result: SigningResult) -> SignOutcome {
    match result {
        Ok(signature) => SignOutcome::Signed { id, signature },
        Err(error) => SignOutcome::Rejected { id, error },
    }
}

pub(crate) fn unable(_logged: StoreError) -> RelayError {
    RelayError::Store
}
