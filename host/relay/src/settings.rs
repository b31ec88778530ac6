//! What an operator sets.

use bulkhead_store::{BacklogMax, Quota};
use std::fmt;
use zeroize::Zeroizing;

/// Limits and keys.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the upstream allows.
    pub quota: Quota,
    /// Slots that verifications and checks of the key may have while messages wait.
    pub checks_max: u32,
    /// What may wait.
    pub backlog_max: BacklogMax,
    /// The upstream's public key, in PEM.
    pub public_key: Option<String>,
    /// What webhooks are signed with.
    pub webhook_secret: Option<WebhookSecret>,
    /// Time for one try of a notification.
    pub webhook_ms: u32,
    /// Notifications under way at the same time.
    pub webhooks_max: u32,
    /// The same, at one host.
    pub webhooks_per_host_max: u32,
    /// How long finished requests are kept.
    pub retention_ms: u64,
    /// How often the store is looked into, whatever it said: other replicas put things there.
    pub look_again_ms: u64,
}

impl Settings {
    /// The time in which the quota allows one call.
    pub(crate) fn pace_ms(&self) -> u64 {
        u64::from(self.quota.window_ms / self.quota.calls.max(1))
    }
}

/// Octets that are never shown, and wiped when they are dropped.
#[derive(Clone)]
pub struct WebhookSecret(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}
