//! The relay's shared state, and the operations on it that all loops use.

use crate::decision::UpstreamHealth;
use crate::environment::{BoxFuture, CallResult, Environment};
use crate::error::RelayError;
use crate::health::HealthState;
use crate::metrics::RelayMetrics;
use crate::settings::Settings;
use crate::tasks::Tasks;
use crate::waiters::Waiters;
use bulkhead_sandbox::{Fault, Operation, SigningComponent, Situation};
use bulkhead_store::{
    BootMillis, Now, Slot, Store, StoreError, StoreFuture, TraceParent, Unavailable, UnixMillis,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};

/// Pause after an error of the store.
pub(crate) const STORE_PAUSE_MS: u64 = 500;

/// Delay before the next attempt if the component ended without a decision.
pub(crate) const FAULT_WAIT_MS: u64 = 60_000;

/// The signing relay: it stores requests, calls the upstream within the quota, and notifies receivers.
///
/// [`Self::start`] creates one. Its loops are tasks of its environment and run as long as the environment.
/// Clones of the `Arc` share one relay.
pub struct Relay<W> {
    pub(crate) environment: Arc<W>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) components: Box<dyn SigningComponents>,
    pub(crate) settings: Settings,
    pub(crate) waiters: Waiters,
    pub(crate) health: HealthState,
    /// Allows one check of the key at a time. Concurrent callers share its result.
    pub(crate) key_check: Mutex<()>,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: RelayMetrics,
    /// Signals that a call may be due.
    pub(crate) call: Notify,
    /// Signals that a notification may be due.
    pub(crate) notify: Notify,
}

/// Provides the active signing component, which may be swapped while the relay runs. The relay uses the same
/// component for a call and for its response.
pub trait SigningComponents: Send + Sync + 'static {
    /// Returns the component to use for the next call.
    fn current(&self) -> Arc<SigningComponent>;
}

/// A component that is never swapped.
impl SigningComponents for Arc<SigningComponent> {
    fn current(&self) -> Self {
        Self::clone(self)
    }
}

impl<W: Environment> Relay<W> {
    /// Returns the milliseconds for which a loop waits: `after_ms`, between 1 and `poll_ms`. With 0
    /// the loop could spin.
    pub(crate) fn pause_ms(&self, after_ms: Option<u64>) -> u64 {
        let max = self.settings.poll_ms;
        after_ms.unwrap_or(max).min(max).max(1)
    }

    pub(crate) fn sleep_ms(&self, ms: u64) -> BoxFuture<'static, ()> {
        let at = self.environment.now().boot.0.saturating_add_unsigned(ms);
        self.environment.sleep_until(BootMillis(at))
    }

    pub(crate) fn situation(&self, attempts: u32, since: UnixMillis) -> Situation {
        let now = self.environment.now().wall.0;
        let random = self.environment.random();
        Situation {
            attempts,
            age_ms: u64::try_from(now - since.0).unwrap_or(0),
            now_ms: u64::try_from(now).unwrap_or(0),
            random: u64::try_from(random & u128::from(u64::MAX)).unwrap_or(0),
        }
    }

    /// Stores that no calls are made for `for_ms`. This happens before the slot is free again.
    pub(crate) async fn hold(&self, for_ms: Option<u64>) {
        if let Some(for_ms) = for_ms {
            self.persist(|now| self.store.hold_calls(for_ms, now)).await;
        }
    }

    /// Records what a call shows about the upstream, and about the key if it proves that the key is valid.
    pub(crate) fn note(&self, upstream: &UpstreamHealth, key_is_good: bool) {
        let now = self.environment.now();
        if key_is_good {
            self.health.key(true, now);
        }
        self.health.upstream(upstream.clone(), now);
    }

    /// Repeats `operation` until it succeeds or its lease is lost, because no other copy of its data exists.
    pub(crate) async fn persist<'a>(
        &'a self,
        mut operation: impl FnMut(Now) -> StoreFuture<'a, ()>,
    ) {
        loop {
            let done = operation(self.environment.now()).await;
            match self.noted(done) {
                Ok(()) => return self.health.store_wrote(),
                Err(StoreError::LeaseLost) => return,
                Err(StoreError::Unavailable(_) | StoreError::Busy | StoreError::Unusable(_)) => {
                    self.sleep_ms(STORE_PAUSE_MS).await;
                }
            }
        }
    }

    /// Returns the result of a store operation, or an error if there is none by `until`.
    pub(crate) async fn within<T>(
        &self,
        until: BootMillis,
        operation: StoreFuture<'_, T>,
    ) -> Result<T, RelayError> {
        let left_ms = u64::try_from(until.0 - self.environment.now().boot.0).unwrap_or(0);
        let result = tokio::select! {
            biased;
            result = operation => result,
            () = self.environment.sleep_until(until) => {
                Err(Unavailable::TimedOut(Duration::from_millis(left_ms)).into())
            }
        };
        Ok(self.noted(result)?)
    }

    /// Returns a result of the store unchanged, and records an error in the health.
    pub(crate) fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.health.store(result, self.environment.now())
    }

    /// Calls the upstream in a claimed slot.
    pub(crate) async fn call_upstream(
        &self,
        component: &SigningComponent,
        operation: &Operation,
        trace: Option<TraceParent>,
        slot: &Slot,
    ) -> CallResult {
        let start = self.environment.now();
        let result = match component.target(operation) {
            Ok(target) => {
                self.environment
                    .call_upstream(target, trace, slot.send_before)
                    .await
            }
            Err(fault) => CallResult::Unsent(report_fault(&fault)),
        };
        let took_ms = self.environment.now().boot.0 - start.boot.0;
        self.metrics.record_call(operation, &result, took_ms);
        result
    }
}

/// Logs a fault of the component, and returns the reason for the delay that the operator reads.
pub(crate) fn report_fault(fault: &Fault) -> String {
    tracing::error!(%fault, "the signing component ended early");
    "the signing component ended early".to_owned()
}
