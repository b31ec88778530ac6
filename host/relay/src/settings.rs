//! The settings of the relay.

use bulkhead_store::{BacklogMax, Quota};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// Limits and keys of a relay.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The calls that the upstream allows.
    pub quota: Quota,
    /// Maximum number of slots that verifications and key checks use while messages wait.
    pub checks_max: u32,
    /// Maximum numbers of waiting messages and callers.
    pub backlog_max: BacklogMax,
    /// The upstream's public key in PEM. If it is set, signatures are verified.
    pub public_key: Option<String>,
    /// The secrets that webhooks are signed with.
    pub webhook_secrets: WebhookSecrets,
    /// Timeout of one attempt to deliver a notification, in milliseconds.
    pub webhook_ms: u32,
    /// Maximum number of concurrent notifications.
    pub webhooks_max: u32,
    /// Maximum number of concurrent notifications per host.
    pub webhooks_per_host_max: u32,
    /// Time for which finished requests are kept, in milliseconds.
    pub retention_ms: u64,
    /// Maximum time between two queries of the store, in milliseconds. Other replicas may have added work
    /// meanwhile.
    pub poll_ms: u64,
}

impl Settings {
    /// Returns the mean time between two calls that the quota allows, in milliseconds.
    pub(crate) fn pace_ms(&self) -> u64 {
        u64::from(self.quota.window_ms / self.quota.calls.max(1))
    }
}

/// The secret for webhook signatures, in bytes. `Debug` hides it, and dropping it wipes it.
#[derive(Clone)]
pub struct WebhookSecret(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

/// The secrets that webhooks are signed with, the current one first. Each of them makes a signature, so that
/// receivers can change from one secret to the next at any time. Without a secret, webhooks are not signed.
///
/// Clones share the secrets.
#[derive(Debug, Clone, Default)]
pub struct WebhookSecrets(Arc<Mutex<Arc<[WebhookSecret]>>>);

impl WebhookSecrets {
    /// Returns the secrets for a relay.
    pub fn new(secrets: Vec<WebhookSecret>) -> Self {
        let shared = Self::default();
        shared.replace(secrets);
        shared
    }

    /// Replaces the secrets. Deliveries that are under way keep their signatures.
    pub fn replace(&self, secrets: Vec<WebhookSecret>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = secrets.into();
    }

    pub(crate) fn current(&self) -> Arc<[WebhookSecret]> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
