//! The settings of the relay.

use bulkhead_store::{BacklogMax, Quota};
use std::fmt;
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
    /// The secret that webhooks are signed with. `None` leaves them unsigned.
    pub webhook_secret: Option<WebhookSecret>,
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
