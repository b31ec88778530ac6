//! The health of the upstream and of the store, as the relay observes it.

use crate::decision::UpstreamHealth;
use bulkhead_store::{BootMillis, Now, StoreError, StoreStats, Unavailable, UnixMillis};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Minimum time between two log messages about errors of the store.
const STORE_LOG_MS: i64 = 10_000;

/// The relay's part of `/health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayHealth {
    /// The state of the upstream at the last call, or `None` before the first call.
    pub upstream: Option<UpstreamHealth>,
    /// The time since which the upstream has been in this state.
    pub upstream_since: Option<UnixMillis>,
    /// The reason of the last failure, if no call has succeeded since the start and the first one failed
    /// more than a window ago.
    pub never_worked: Option<String>,
    /// The last error of the store, or `None` if the store works.
    pub store: Option<String>,
    /// The contents of the store in numbers, about a second old, or `None` before the first query.
    pub stats: Option<StoreStats>,
}

/// The last known result of a check of the upstream's API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyCheck {
    /// Whether the upstream accepts the key.
    pub valid: bool,
    /// The time of the call that showed this.
    pub at: UnixMillis,
}

/// The shared, current health.
pub(crate) struct HealthState(Mutex<Inner>);

struct Inner {
    health: RelayHealth,
    start: Start,
    key: Option<(KeyCheck, BootMillis)>,
    store_logged: Option<BootMillis>,
}

/// Returns the reason if the upstream does not work.
fn fault(upstream: &UpstreamHealth) -> Option<&str> {
    match upstream {
        UpstreamHealth::Fine => None,
        UpstreamHealth::Failing(why)
        | UpstreamHealth::Rejecting(why)
        | UpstreamHealth::Throttling(why) => Some(why),
    }
}

/// The success of calls since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Uncalled,
    /// All calls have failed, the first one at this time.
    Failing(BootMillis),
    /// All calls have failed for more than a window.
    Failed,
    Worked,
}

impl HealthState {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Inner {
            health: RelayHealth {
                upstream: None,
                upstream_since: None,
                never_worked: None,
                store: None,
                stats: None,
            },
            start: Start::Uncalled,
            key: None,
            store_logged: None,
        }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self) -> RelayHealth {
        self.inner().health.clone()
    }

    /// Checks whether all calls have failed since the start for more than `window_ms`, and logs it once.
    pub(crate) fn check_start(&self, window_ms: u32, now: Now) {
        let mut inner = self.inner();
        if let Start::Failing(since) = inner.start
            && now.boot.0 - since.0 >= i64::from(window_ms)
            && let Some(why) = inner.health.upstream.as_ref().and_then(fault)
        {
            tracing::warn!(why, "no call of the upstream has succeeded since the start");
            inner.health.never_worked = Some(why.to_owned());
            inner.start = Start::Failed;
        }
    }

    /// Records the state of the upstream after a call, and logs it if it has changed.
    pub(crate) fn upstream(&self, upstream: UpstreamHealth, now: Now) {
        let mut inner = self.inner();
        let before = inner.health.upstream.as_ref();
        let same = before.is_some_and(|before| {
            std::mem::discriminant(before) == std::mem::discriminant(&upstream)
        });
        if !same {
            match (&upstream, before) {
                (UpstreamHealth::Rejecting(why), _) => tracing::error!(why, "calls paused"),
                (UpstreamHealth::Throttling(why), _) => tracing::warn!(why, "calls paused"),
                (
                    UpstreamHealth::Fine,
                    Some(UpstreamHealth::Rejecting(_) | UpstreamHealth::Throttling(_)),
                ) => {
                    tracing::info!("the upstream responds again");
                }
                // The upstream fails half of the time, so this is not a warning.
                (UpstreamHealth::Failing(why), _) => tracing::debug!(why, "the upstream failed"),
                (UpstreamHealth::Fine, _) => tracing::debug!("the upstream responds"),
            }
            inner.health.upstream_since = Some(now.wall);
        }
        match (fault(&upstream), inner.start) {
            (None, _) => {
                inner.start = Start::Worked;
                inner.health.never_worked = None;
            }
            (Some(_), Start::Uncalled) => inner.start = Start::Failing(now.boot),
            (Some(why), Start::Failed) => inner.health.never_worked = Some(why.to_owned()),
            (Some(_), Start::Failing(_) | Start::Worked) => {}
        }
        inner.health.upstream = Some(upstream);
    }

    /// Returns whether the upstream rejected the key or the address at the last call. Until a call
    /// succeeds, only one call at a time is made.
    pub(crate) fn is_rejecting(&self) -> bool {
        matches!(
            self.inner().health.upstream,
            Some(UpstreamHealth::Rejecting(_))
        )
    }

    /// Records that the store works, after a successful write. A read does not prove this.
    pub(crate) fn store_wrote(&self) {
        if self.inner().health.store.take().is_some() {
            tracing::info!("the store works again");
        }
    }

    /// Returns a result of the store unchanged. An error is recorded and, at most every [`STORE_LOG_MS`],
    /// logged.
    pub(crate) fn store<T>(
        &self,
        result: Result<T, StoreError>,
        now: Now,
    ) -> Result<T, StoreError> {
        let mut inner = self.inner();
        match &result {
            // The store is closed at the end of the process only.
            Ok(_) | Err(StoreError::LeaseLost | StoreError::Unavailable(Unavailable::Closing)) => {}
            Err(error) => {
                let log_is_due = inner
                    .store_logged
                    .is_none_or(|at| now.boot.0 - at.0 >= STORE_LOG_MS);
                if log_is_due {
                    tracing::error!(%error, "the store failed");
                    inner.store_logged = Some(now.boot);
                }
                inner.health.store = Some(error.to_string());
            }
        }
        result
    }

    pub(crate) fn stats(&self, stats: StoreStats) {
        self.inner().health.stats = Some(stats);
    }

    pub(crate) fn key(&self, valid: bool, now: Now) {
        let check = KeyCheck {
            valid,
            at: now.wall,
        };
        self.inner().key = Some((check, now.boot));
    }

    pub(crate) fn forget_key(&self) {
        self.inner().key = None;
    }

    /// Returns the last result of a key check if it is less than `ms` old.
    pub(crate) fn key_within(&self, ms: i64, now: Now) -> Option<KeyCheck> {
        let (check, at) = self.inner().key?;
        (now.boot.0 - at.0 < ms).then_some(check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_MS: u32 = 60_000;

    fn at(ms: i64) -> Now {
        Now {
            wall: UnixMillis(ms),
            boot: BootMillis(ms),
        }
    }

    fn failing(why: &str) -> UpstreamHealth {
        UpstreamHealth::Failing(why.to_owned())
    }

    #[test]
    fn upstream_that_never_worked_is_reported_after_a_window() {
        let health = HealthState::new();
        let never_worked = |now| {
            health.check_start(WINDOW_MS, now);
            health.get().never_worked
        };
        assert_eq!(never_worked(at(0)), None);
        // The window begins with the first failure, not with the start.
        health.upstream(failing("a"), at(100_000));
        assert_eq!(never_worked(at(100_000)), None);
        health.upstream(failing("b"), at(130_000));
        assert_eq!(never_worked(at(159_999)), None);
        assert_eq!(never_worked(at(160_000)), Some("b".to_owned()));
        health.upstream(failing("c"), at(170_000));
        assert_eq!(never_worked(at(170_000)), Some("c".to_owned()));
        health.upstream(UpstreamHealth::Fine, at(180_000));
        assert_eq!(never_worked(at(180_000)), None);
        // The upstream fails half of the time. Later failures are not reported here.
        health.upstream(failing("d"), at(190_000));
        assert_eq!(never_worked(at(900_000)), None);
    }

    #[test]
    fn upstream_that_worked_once_is_not_reported() {
        let health = HealthState::new();
        health.upstream(failing("a"), at(0));
        health.upstream(UpstreamHealth::Fine, at(1));
        health.upstream(failing("a"), at(1));
        health.check_start(WINDOW_MS, at(i64::from(WINDOW_MS) * 9));
        assert_eq!(health.get().never_worked, None);
    }
}
