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
    key: Option<(KeyCheck, BootMillis)>,
    store_logged: Option<BootMillis>,
}

impl HealthState {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Inner {
            health: RelayHealth {
                upstream: None,
                upstream_since: None,
                store: None,
                stats: None,
            },
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

    /// Records the state of the upstream after a call, and logs it if it has changed.
    pub(crate) fn upstream(&self, upstream: UpstreamHealth, now: Now) {
        let mut inner = self.inner();
        let before = inner.health.upstream.as_ref();
        let same = before.is_some_and(|before| {
            std::mem::discriminant(before) == std::mem::discriminant(&upstream)
        });
        if !same {
            match (&upstream, before) {
                (UpstreamHealth::Refusing(why), _) => tracing::error!(why, "calls paused"),
                (UpstreamHealth::Slowing(why), _) => tracing::warn!(why, "calls paused"),
                (
                    UpstreamHealth::Fine,
                    Some(UpstreamHealth::Refusing(_) | UpstreamHealth::Slowing(_)),
                ) => {
                    tracing::info!("the upstream responds again");
                }
                // The upstream fails half of the time, so this is not a warning.
                (UpstreamHealth::Failing(why), _) => tracing::debug!(why, "the upstream failed"),
                (UpstreamHealth::Fine, _) => tracing::debug!("the upstream responds"),
            }
            inner.health.upstream_since = Some(now.wall);
        }
        inner.health.upstream = Some(upstream);
    }

    /// Returns whether the upstream rejected the key or the address at the last call. Until a call
    /// succeeds, only one call at a time is made.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(
            self.inner().health.upstream,
            Some(UpstreamHealth::Refusing(_))
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

    /// Returns the last result of a key check if it is less than `ms` old.
    pub(crate) fn key_within(&self, ms: i64, now: Now) -> Option<KeyCheck> {
        let (check, at) = self.inner().key?;
        (now.boot.0 - at.0 < ms).then_some(check)
    }
}
