//! The caller of a request.

use super::key_set::Entry;
use super::limits::LimitReached;
use super::problems;
use super::scope::{Scope, Scopes};
use super::usage::RunningRequest;
use bulkhead_http::Problem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// The caller of a request, and its rights.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    scopes: Scopes,
    /// The entry of the caller's key. `None` on an open server, and for a caller without a valid key.
    entry: Option<Arc<Entry>>,
}

impl Caller {
    /// A caller of an open server, who has all rights.
    pub(crate) const OPEN: Self = Self {
        scopes: Scopes::ALL,
        entry: None,
    };

    /// A caller without a valid key, who has no rights.
    pub(crate) const UNKNOWN: Self = Self {
        scopes: Scopes::NONE,
        entry: None,
    };

    /// Returns the caller whose key belongs to this entry.
    pub(crate) fn of(entry: &Arc<Entry>) -> Self {
        Self {
            scopes: entry.scopes,
            entry: Some(Arc::clone(entry)),
        }
    }

    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.has_one_of(Scopes::of(&[scope]))
    }

    pub(crate) fn has_one_of(&self, scopes: Scopes) -> bool {
        self.scopes.has_one_of(scopes)
    }

    /// Returns the key derivation that the caller may use for one message.
    pub(crate) fn kdf_allowance(&self) -> KdfAllowance {
        KdfAllowance(self.entry.clone().map(|entry| {
            Arc::new(Message {
                entry,
                has_begun: AtomicBool::new(false),
                reached: OnceLock::new(),
            })
        }))
    }
}

/// An admitted request: its caller, and its share of the concurrent requests until it is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) caller: Caller,
    _running: Option<RunningRequest>,
}

impl Admission {
    /// Returns the admission of a request that no limit concerns.
    pub(super) fn unlimited(caller: Caller) -> Self {
        Self {
            caller,
            _running: None,
        }
    }

    pub(super) fn limited(caller: Caller, running: Option<RunningRequest>) -> Self {
        Self {
            caller,
            _running: running,
        }
    }
}

/// The key derivation of one message, which counts towards the limit of its caller. A message that has begun is not
/// interrupted: it would begin again later and be interrupted at the same place.
#[derive(Debug, Clone)]
pub(crate) struct KdfAllowance(Option<Arc<Message>>);

#[derive(Debug)]
struct Message {
    entry: Arc<Entry>,
    has_begun: AtomicBool,
    /// The limit that kept the message from beginning.
    reached: OnceLock<LimitReached>,
}

impl KdfAllowance {
    /// Checks that a message may begin.
    ///
    /// # Errors
    /// 429 if the caller has used up its key derivation.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let Some(Message { entry, .. }) = self.0.as_deref() else {
            return Ok(());
        };
        let usage = entry.usage.get();
        let checked = usage.map_or(Ok(()), |usage| usage.check_kdf(&entry.limits));
        checked.map_err(problems::limit_reached)
    }

    /// Takes bytes of key derivation. Returns false if the message has not begun and the caller has used up its key
    /// derivation.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let Some(message) = self.0.as_deref() else {
            return true;
        };
        let Some(usage) = message.entry.usage.get() else {
            return true;
        };
        let limits = &message.entry.limits;
        if message.has_begun.load(Ordering::Relaxed) {
            usage.continue_kdf(limits, bytes);
            return true;
        }
        match usage.begin_kdf(limits, bytes) {
            Ok(()) => {
                message.has_begun.store(true, Ordering::Relaxed);
                true
            }
            Err(reached) => {
                message.reached.get_or_init(|| reached);
                false
            }
        }
    }

    /// Returns the response to a message for which [`Self::take`] has returned false.
    pub(crate) fn used_up(&self) -> Problem {
        let reached = self.0.as_deref().and_then(|message| message.reached.get());
        reached.map_or_else(
            || Problem::internal("key derivation was rejected without a limit"),
            |reached| problems::limit_reached(*reached),
        )
    }
}
