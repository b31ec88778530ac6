//! The public operations of the relay.

use crate::core::{Relay, SigningComponents};
use crate::environment::{BoxFuture, Environment, Point};
use crate::error::RelayError;
use crate::health::{HealthState, RelayHealth};
use crate::metrics::RelayMetrics;
use crate::settings::Settings;
use crate::tasks::Tasks;
use crate::waiters::{SigningResult, WaitResult, WaiterHandle, Waiters};
use crate::{calls, maintenance, notifications};
use bulkhead_store::{
    Accepted, BacklogMax, BootMillis, NewRequest, Redelivery, RequestId, RequestQuery, RequestView,
    Store, StoreError, Viewer,
};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify};

/// The result of [`Relay::sign`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignOutcome {
    /// The message is signed.
    Signed {
        /// The request's id.
        id: RequestId,
        /// The signature, unchanged from the upstream's response.
        signature: String,
    },
    /// The request is stored. The message will be signed later.
    Pending {
        /// The request's id.
        id: RequestId,
        /// Estimated milliseconds until the message is signed.
        after_ms: u64,
    },
    /// The message will not be signed.
    Rejected {
        /// The request's id.
        id: RequestId,
        /// The reason, on one line.
        error: String,
    },
    /// The owner has the maximum number of pending requests. Nothing is stored.
    OwnerFull {
        /// Estimated milliseconds until the next message is signed.
        after_ms: u64,
    },
}

impl<W: Environment> Relay<W> {
    /// Creates a relay and spawns its loops in `environment`: calls of the upstream, notifications,
    /// maintenance. [`Self::end`] ends the first two, and the third ends when the store is closed.
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

    /// Accepts a message and returns its signature, or [`SignOutcome::Pending`] if there is none by
    /// `until`. The request is durable before this returns `Pending`. A repeated call with the same owner,
    /// message and callback returns the id of the request that is pending already. `owned_max` is the maximum
    /// number of pending requests of the owner, or `None` for no limit.
    ///
    /// Cancel-safe: a request that is already stored stays stored, and its message is signed.
    ///
    /// # Errors
    /// - [`RelayError::BacklogFull`] and [`RelayError::CallersFull`] if the limit is reached. Nothing is
    ///   stored.
    /// - [`RelayError::Store`] if the store fails or does not respond by `until`. The request may be stored.
    pub async fn sign(
        &self,
        new: NewRequest,
        owned_max: Option<u32>,
        until: BootMillis,
    ) -> Result<SignOutcome, RelayError> {
        // The wait starts before the request is stored, so that no result is missed in between.
        let mut handle = self.waiters.wait(&new.message, &new.id, until);
        let own = new.id.clone();
        let backlog_max = BacklogMax {
            owned: owned_max,
            ..self.settings.backlog_max
        };
        let accept = self.store.accept(new, backlog_max, self.environment.now());
        let accepted = self.within(until, accept).await;
        // Another caller of the same message may have had it signed meanwhile.
        let signed_or = |handle: WaiterHandle, outcome| match handle.leave() {
            Some(WaitResult::Finished { result, .. }) => Ok(answer(own, result)),
            Some(WaitResult::Released) | None => outcome,
        };
        let id = match accepted {
            Ok(Accepted::Signed { id, signature }) => {
                return Ok(SignOutcome::Signed { id, signature });
            }
            Ok(Accepted::Failed { id, error }) => return Ok(SignOutcome::Rejected { id, error }),
            Ok(Accepted::Pending(id)) => id,
            Ok(Accepted::OwnerFull) => {
                let after_ms = self.settings.pace_ms();
                return signed_or(handle, Ok(SignOutcome::OwnerFull { after_ms }));
            }
            Ok(Accepted::BacklogFull) => {
                let after_ms = self.settings.pace_ms();
                return signed_or(handle, Err(RelayError::BacklogFull { after_ms }));
            }
            Ok(Accepted::CallersFull) => {
                let after_ms = self.expected_ms();
                return signed_or(handle, Err(RelayError::CallersFull { after_ms }));
            }
            Err(error) => return signed_or(handle, Err(error)),
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
                // The result is valid before it is stored. The wait ensures that a caller that reads the
                // request immediately afterwards finds it signed.
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

    /// Returns the caller's view of a request, or `None` if no request with this id exists for the viewer. The
    /// request may have been removed after its retention.
    ///
    /// Cancel-safe: it changes nothing.
    ///
    /// # Errors
    /// [`RelayError::Store`] if the store fails or does not respond by `until`.
    pub async fn request(
        &self,
        id: RequestId,
        viewer: Viewer,
        until: BootMillis,
    ) -> Result<Option<RequestView>, RelayError> {
        let request = self.store.request(id, viewer, self.environment.now());
        self.within(until, request).await
    }

    /// Returns the requests that a query selects, the newest first, or `None` if the request after which the
    /// list should begin does not exist for the viewer.
    ///
    /// Cancel-safe: it changes nothing.
    ///
    /// # Errors
    /// [`RelayError::Store`] if the store fails or does not respond by `until`.
    pub async fn list(
        &self,
        query: RequestQuery,
        until: BootMillis,
    ) -> Result<Option<Vec<RequestView>>, RelayError> {
        let list = self.store.list(query, self.environment.now());
        self.within(until, list).await
    }

    /// Makes a request's notification due again, even if it was delivered or parked. Returns whether it is
    /// due, too soon or not found. Redeliveries of one request are at least a second apart, over all replicas.
    /// Dropping the future does not undo it. A repeated call within a second returns that it is too soon.
    ///
    /// # Errors
    /// [`RelayError::Store`] if the store fails or does not respond by `until`. The notification may be due
    /// nevertheless.
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

    /// Discards the result of the last key check, because the API key has changed. The next [`Self::test_key`] calls
    /// the upstream. Idempotent.
    pub fn forget_key_check(&self) {
        self.health.forget_key();
    }

    /// Starts no more calls and notifications, and waits until the running ones have ended and their
    /// results are stored. Maintenance and the other methods continue to work. Idempotent.
    ///
    /// This method has no timeout: a call lasts at most until its slot's deadline, but a result is stored again and
    /// again until the store accepts it. Dropping the future is safe. No further call starts, and a second call of
    /// this method waits for the rest. If the process ends before that, the effect is that of a crash: a receiver
    /// may get a notification twice.
    pub async fn end(&self) {
        self.tasks.end().await;
    }

    /// Completes the running operations of the store and closes it. To be called after [`Self::end`]. Later
    /// operations fail. Idempotent.
    ///
    /// Dropping the future does not stop the close: the store may be closed or still open afterwards, and a second
    /// call closes it.
    ///
    /// # Errors
    /// The errors of [`Store::close`].
    pub async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }

    /// Returns the last known health of the upstream and of the store, without a call of either.
    pub fn health(&self) -> RelayHealth {
        self.health.get()
    }

    /// Estimates the milliseconds until a message that is accepted now is signed, after all messages before
    /// it.
    fn expected_ms(&self) -> u64 {
        let stats = self.health.get().stats.unwrap_or_default();
        let backlog_ms = stats.backlog.max(1).saturating_mul(self.settings.pace_ms());
        backlog_ms.saturating_add(stats.held_ms)
    }
}

fn answer(id: RequestId, result: SigningResult) -> SignOutcome {
    match result {
        Ok(signature) => SignOutcome::Signed { id, signature },
        Err(error) => SignOutcome::Rejected { id, error },
    }
}
