//! The shared state of the relay, and what all of its loops do with it.

use crate::decision::UpstreamHealth;
use crate::environment::{BoxFuture, CallResult, Environment};
use crate::error::RelayError;
use crate::health::HealthState;
use crate::metrics::RelayMetrics;
use crate::settings::Settings;
use crate::tasks::Tasks;
use crate::waiters::Waiters;
use bulkhead_sandbox::{Fault, Question, SigningComponent, Situation};
use bulkhead_store::{
    BootMillis, Now, Slot, Store, StoreError, StoreFuture, TraceParent, Unavailable, UnixMillis,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};

/// Pause after an error of the store.
pub(crate) const STORE_PAUSE_MS: u64 = 500;

/// Wait where the component did not come to a decision.
pub(crate) const FAULT_WAIT_MS: u64 = 60_000;

/// The relay. Its loops are tasks of its environment, and end with that.
pub struct Relay<W> {
    pub(crate) environment: Arc<W>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) components: Box<dyn SigningComponents>,
    pub(crate) settings: Settings,
    pub(crate) waiters: Waiters,
    pub(crate) health: HealthState,
    /// One check of the key at a time: callers that come meanwhile share its result.
    pub(crate) key_check: Mutex<()>,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: RelayMetrics,
    /// There may be something to call for.
    pub(crate) call: Notify,
    /// There may be somebody to notify.
    pub(crate) notify: Notify,
}

/// Knows who components: the component can be exchanged while the relay runs. What belongs together, a
/// question and its answer, goes to the same one.
pub trait SigningComponents: Send + Sync + 'static {
    /// The one to begin with now.
    fn current(&self) -> Arc<SigningComponent>;
}

/// Always this one.
impl SigningComponents for Arc<SigningComponent> {
    fn current(&self) -> Self {
        Self::clone(self)
    }
}

impl<W: Environment> Relay<W> {
    /// How long there is nothing to do; never no time at all, or a loop could spin.
    pub(crate) fn pause_ms(&self, after_ms: Option<u64>) -> u64 {
        let max = self.settings.look_again_ms;
        after_ms.unwrap_or(max).min(max).max(1)
    }

    pub(crate) fn sleep_ms(&self, ms: u64) -> BoxFuture<'static, ()> {
        let at = self.environment.now().boot.0.saturating_add_unsigned(ms);
        self.environment.sleep_until(BootMillis(at))
    }

    pub(crate) fn situation(&self, tries: u32, since: UnixMillis) -> Situation {
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

    /// Notes what a call shows of the upstream and of our key.
    pub(crate) fn note(&self, upstream: &UpstreamHealth, key_is_good: bool) {
        let now = self.environment.now();
        if key_is_good {
            self.health.key(true, now);
        }
        self.health.upstream(upstream.clone(), now);
    }

    /// Repeats `operation` until it succeeds or its lease is lost: nobody else knows what it stores.
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

    /// The result of the store, if it comes before `until`.
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

    /// Passes a result of the store on, and notes in the health whether it failed.
    pub(crate) fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.health.store(result, self.environment.now())
    }

    /// Calls the upstream within a slot.
    pub(crate) async fn call_upstream(
        &self,
        component: &SigningComponent,
        question: &Question,
        trace: Option<TraceParent>,
        slot: &Slot,
    ) -> CallResult {
        let start = self.environment.now();
        let result = match component.target(question) {
            Ok(target) => {
                self.environment
                    .call_upstream(target, trace, slot.send_before)
                    .await
            }
            Err(fault) => CallResult::Unsent(report_fault(&fault)),
        };
        let took_ms = self.environment.now().boot.0 - start.boot.0;
        self.metrics.called(question, &result, took_ms);
        result
    }
}

/// Logs a fault of the component, and returns what the operator reads as the reason for a delay.
pub(crate) fn report_fault(fault: &Fault) -> String {
    tracing::error!(%fault, "the signing component ended early");
    "the signing component ended early".to_owned()
}
