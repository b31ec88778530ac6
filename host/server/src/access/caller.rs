//! The caller of a request.

use super::key::KeyDigest;
use super::key_set::Entry;
use super::limits::LimitReached;
use super::problems;
use super::scope::{Requirement, Scope, Scopes};
use super::usage::Usage;
use bulkhead_http::{Address, Problem};
use bulkhead_sandbox::CallerId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The caller of a request, and its rights.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    scopes: Scopes,
    identity: Identity,
}

/// The identity of a caller, as far as the server knows it.
#[derive(Debug, Clone)]
enum Identity {
    /// The server is open. If `is_local`, only this machine can reach the listener.
    Open { is_local: bool },
    /// The caller has no valid key.
    Unknown,
    /// The caller has a key of this entry.
    Named(Arc<Entry>, Credential),
}

/// The means by which a request has proved that it belongs to its entry.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Credential {
    /// An access key, by its digest.
    Key(KeyDigest),
    /// A client certificate, by its SHA-256.
    Certificate([u8; 32]),
}

impl Credential {
    /// Returns the kind as the audit log has it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Certificate(_) => "certificate",
        }
    }

    /// Returns the first 8 hexadecimal digits of the SHA-256.
    pub(crate) fn fingerprint(&self) -> String {
        match self {
            Self::Key(digest) => digest.fingerprint(),
            Self::Certificate(sha256) => base16ct::lower::encode_string(&sha256[..4]),
        }
    }
}

impl Caller {
    /// A caller without a valid key, who has no rights.
    pub(crate) const UNKNOWN: Self = Self {
        scopes: Scopes::NONE,
        identity: Identity::Unknown,
    };

    /// Returns a caller of an open server, who has all rights.
    pub(crate) fn open(listener: &Address) -> Self {
        Self {
            scopes: Scopes::ALL,
            identity: Identity::Open {
                is_local: listener.is_local(),
            },
        }
    }

    /// Returns the caller whose key belongs to this entry.
    pub(super) fn of(entry: Arc<Entry>, credential: Credential) -> Self {
        Self {
            scopes: entry.scopes,
            identity: Identity::Named(entry, credential),
        }
    }

    /// Returns the entry of the caller and the credential, or `None` if the caller has no valid key.
    fn known(&self) -> Option<(&Arc<Entry>, Credential)> {
        match &self.identity {
            Identity::Named(entry, credential) => Some((entry, *credential)),
            Identity::Open { .. } | Identity::Unknown => None,
        }
    }

    /// Returns the name of the caller's key, or `None` if the caller has no valid key.
    pub(crate) fn name(&self) -> Option<&str> {
        self.known().map(|(entry, _)| entry.name.as_str())
    }

    /// Returns the credential of the caller, or `None` if it has no valid key.
    /// Returns the identity by which callers share threads and key derivation. Callers without a name share as one.
    pub(crate) fn id(&self) -> CallerId {
        self.name().map_or(CallerId::UNKNOWN, CallerId::of)
    }

    pub(crate) fn credential(&self) -> Option<Credential> {
        self.known().map(|(_, credential)| credential)
    }

    /// Returns whether the server is open and other machines can reach the listener of the request.
    pub(crate) fn is_anyone(&self) -> bool {
        matches!(self.identity, Identity::Open { is_local: false })
    }

    /// Returns whether the audit log has a line for a request of this caller to a route with this requirement: the route
    /// needs a scope, or the caller has used a valid key.
    pub(crate) fn is_audited(&self, required: Requirement) -> bool {
        match required {
            Requirement::Nothing => false,
            Requirement::ScopeForDetails => self.known().is_some(),
            Requirement::OneOf(_) => true,
        }
    }

    /// Returns the caller's entry and its use, or `None` if the caller has no valid key.
    pub(super) fn usage(&self) -> Option<(&Arc<Entry>, &Arc<Usage>)> {
        let (entry, _) = self.known()?;
        Some((entry, entry.usage.get()?))
    }

    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.has_one_of(Scopes::of(&[scope]))
    }

    pub(crate) fn has_one_of(&self, scopes: Scopes) -> bool {
        self.scopes.has_one_of(scopes)
    }

    /// Returns the maximum number of the caller's requests that wait for a signature, if there is one.
    pub(crate) fn pending_max(&self) -> Option<u32> {
        self.known()?.0.limits.pending_max
    }

    /// Counts a request beyond [`Self::pending_max`], and returns its response. `wait` is the estimated time until the next
    /// message is signed.
    pub(crate) fn pending_max_reached(&self, wait: Duration) -> Problem {
        self.usage().map_or_else(
            || Problem::internal("a request was rejected without a limit"),
            |(entry, usage)| problems::limit_reached(usage.count_pending(&entry.limits, wait)),
        )
    }

    /// Returns the key derivation that the caller may use for one message.
    pub(crate) fn kdf_allowance(&self) -> KdfAllowance {
        KdfAllowance(self.usage().map(|(entry, usage)| {
            Arc::new(Message {
                entry: Arc::clone(entry),
                usage: Arc::clone(usage),
                has_begun: AtomicBool::new(false),
                reached: OnceLock::new(),
            })
        }))
    }
}

/// The key derivation of one message, which counts towards the limit of its caller. A message that has begun may exceed
/// the limit. If it were interrupted, its next attempt would be interrupted at the same place.
#[derive(Debug, Clone)]
pub(crate) struct KdfAllowance(Option<Arc<Message>>);

/// A message whose caller may have a limit.
#[derive(Debug)]
struct Message {
    entry: Arc<Entry>,
    usage: Arc<Usage>,
    /// Whether the message has taken key derivation.
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
        let Some(message) = self.0.as_deref() else {
            return Ok(());
        };
        let checked = message.usage.check_kdf(&message.entry.limits);
        checked.map_err(problems::limit_reached)
    }

    /// Takes bytes of key derivation, and returns whether the message may use them. Returns false only if the message has
    /// not begun and the caller has used up its key derivation.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let Some(message) = self.0.as_deref() else {
            return true;
        };
        let (limits, usage) = (&message.entry.limits, &message.usage);
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
