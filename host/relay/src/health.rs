//! How the upstream and the store are, as far as the relay has seen.

use crate::decision::UpstreamHealth;
use bulkhead_store::{BootMillis, Now, StoreError, StoreStats, UnixMillis};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How often an error of the store is logged, at most.
const STORE_LOG_MS: i64 = 10_000;

/// What `/health` says of the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayHealth {
    /// What the last call showed; none before the first.
    pub upstream: Option<UpstreamHealth>,
    /// When that was.
    pub upstream_since: Option<UnixMillis>,
    /// What is wrong with the store, if anything.
    pub store: Option<String>,
    /// What is in the store, as of a second ago; none before the first look.
    pub stats: Option<StoreStats>,
}

/// Whether the key is good, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyCheck {
    /// Whether the upstream takes it.
    pub valid: bool,
    /// When it showed that.
    pub at: UnixMillis,
}

/// The one place where all of that is kept.
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

    /// Notes what a call showed. A change is logged; that it goes on is not.
    pub(crate) fn upstream(&self, upstream: UpstreamHealth, now: Now) {
        let mut inner = self.inner();
        let before = inner.health.upstream.as_ref();
        let same = before.is_some_and(|before| {
            std::mem::discriminant(before) == std::mem::discriminant(&upstream)
        });
        if !same {
            match (&upstream, before) {
                (UpstreamHealth::Refusing(why), _) => tracing::error!(why, "calls pause"),
                (UpstreamHealth::Slowing(why), _) => tracing::warn!(why, "calls pause"),
                (
                    UpstreamHealth::Fine,
                    Some(UpstreamHealth::Refusing(_) | UpstreamHealth::Slowing(_)),
                ) => {
                    tracing::info!("the upstream answers again");
                }
                // What it does half of the time.
                (UpstreamHealth::Failing(why), _) => tracing::debug!(why, "the upstream failed"),
                (UpstreamHealth::Fine, _) => tracing::debug!("the upstream answers"),
            }
            inner.health.upstream_since = Some(now.wall);
        }
        inner.health.upstream = Some(upstream);
    }

    /// Whether the upstream refused us at the last call: one call at a time finds out whether it
    /// still does.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(
            self.inner().health.upstream,
            Some(UpstreamHealth::Refusing(_))
        )
    }

    /// Something was written: the store works. To have looked at it shows nothing.
    pub(crate) fn store_wrote(&self) {
        if self.inner().health.store.take().is_some() {
            tracing::info!("the store works again");
        }
    }

    /// Passes a result of the store on, and notes it if it failed.
    pub(crate) fn store<T>(
        &self,
        result: Result<T, StoreError>,
        now: Now,
    ) -> Result<T, StoreError> {
        let mut inner = self.inner();
        match &result {
            Ok(_) | Err(StoreError::LeaseLost) => {}
            Err(error) => {
                let seldom = inner
                    .store_logged
                    .is_none_or(|at| now.boot.0 - at.0 >= STORE_LOG_MS);
                if seldom {
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

    /// What is known of the key, if that is not older.
    pub(crate) fn key_within(&self, ms: i64, now: Now) -> Option<KeyCheck> {
        let (check, at) = self.inner().key?;
        (now.boot.0 - at.0 < ms).then_some(check)
    }
}
