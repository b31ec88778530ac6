//! What callers ask of the relay.

use crate::core::{Relay, SigningComponents};
use crate::environment::{BoxFuture, Environment, Point};
use crate::error::RelayError;
use crate::health::{HealthState, RelayHealth};
use crate::metrics::RelayMetrics;
use crate::settings::Settings;
use crate::tasks::Tasks;
use crate::waiters::{SigningResult, WaitResult, WaiterHandle, Waiters};
use crate::{calls, maintenance, notifications};
use bulkhead_store::{Accepted, BootMillis, NewRequest, Redelivery, RequestId, RequestView, Store};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify};

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

impl<W: Environment> Relay<W> {
    /// Makes a relay and starts what it does by itself.
    pub fn start(
        environment: Arc<W>,
        store: Arc<dyn Store>,
        components: impl SigningComponents,
        settings: Settings,
        metrics: RelayMetrics,
    ) -> Arc<Self> {
        let relay = Arc::new(Self {
            environment,
            store,
            components: Box::new(components),
            settings,
            waiters: Waiters::default(),
            health: HealthState::new(),
            key_check: Mutex::default(),
            tasks: Tasks::new(),
            metrics,
            call: Notify::new(),
            notify: Notify::new(),
        });
        let tasks: [BoxFuture<'static, ()>; 3] = [
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
    /// with [`SignOutcome::Pending`] is durable. A caller that stops to wait undoes nothing, and a repetition
    /// shares the request.
    ///
    /// # Errors
    /// [`RelayError::BacklogFull`] and [`RelayError::CallersFull`] where nothing was stored, and
    /// [`RelayError::Store`] where that is not known.
    pub async fn sign(
        &self,
        new: NewRequest,
        until: BootMillis,
    ) -> Result<SignOutcome, RelayError> {
        // Before it is stored, or a result could come in between.
        let mut handle = self.waiters.wait(&new.message, &new.id, until);
        let (own, backlog_max) = (new.id.clone(), self.settings.backlog_max);
        let accept = self.store.accept(new, backlog_max, self.environment.now());
        let accepted = self.within(until, accept).await;
        // Another caller of the same message may have had it signed meanwhile.
        let signed_or = |handle: WaiterHandle, error| match handle.leave() {
            Some(WaitResult::Finished { result, .. }) => Ok(answer(own, result)),
            Some(WaitResult::Released) | None => Err(error),
        };
        let id = match accepted {
            Ok(Accepted::Signed { id, signature }) => {
                return Ok(SignOutcome::Signed { id, signature });
            }
            Ok(Accepted::Failed { id, error }) => return Ok(SignOutcome::Rejected { id, error }),
            Ok(Accepted::Pending(id)) => id,
            Ok(Accepted::BacklogFull) => {
                let after_ms = self.settings.pace_ms();
                return signed_or(handle, RelayError::BacklogFull { after_ms });
            }
            Ok(Accepted::CallersFull) => {
                let after_ms = self.expected_ms();
                return signed_or(handle, RelayError::CallersFull { after_ms });
            }
            Err(error) => return signed_or(handle, error),
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

    /// A request as its caller may see it, or `None` where there is none with this id.
    ///
    /// # Errors
    /// [`RelayError::Store`] where the store fails, or does not answer before `until`.
    pub async fn request(
        &self,
        id: RequestId,
        until: BootMillis,
    ) -> Result<Option<RequestView>, RelayError> {
        let request = self.store.request(id, self.environment.now());
        self.within(until, request).await
    }

    /// Makes a notification due, whatever became of it.
    ///
    /// # Errors
    /// [`RelayError::Store`] where the store fails, or does not answer before `until`. The notification may
    /// be due all the same.
    pub async fn redeliver(
        &self,
        id: RequestId,
        until: BootMillis,
    ) -> Result<Redelivery, RelayError> {
        let redelivery = self.store.redeliver(id, self.environment.now());
        let redelivery = self.within(until, redelivery).await?;
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
