//! Settings of the signing relay.

use super::store_settings::StoreSettings;
use crate::config::files::{self, FileError};
use crate::config::units::{GIB, KIB, MIB, durations, millis, numbers, sizes};
use bulkhead_http::{ByteSize, Setting, setting};
use bulkhead_outbound::Allowed;
use bulkhead_store::Quota;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// Below the lease of a notification in the store (60 s), with time to write down what came of it.
const WEBHOOK_TIMEOUT_LIMIT_MAX: Duration = Duration::from_secs(50);

/// Every request for a signature is answered within two seconds; this leaves time for the answer.
const SIGN_TIMEOUT_LIMIT_MAX: Duration = Duration::from_millis(1900);

/// A target has 65,534 octets at most, three for each of the message, and the rest of it beside.
const MESSAGE_LIMIT_MAX: u64 = 21 * KIB;

/// What a key in PEM begins with, and no path.
pub(crate) const PEM: &str = "-----BEGIN";

/// The setting with the public key.
pub(super) const PUBLIC_KEY: Setting = setting!(SigningSettings, upstream_public_key);

/// Larger files are taken for the wrong ones.
const KEY_FILE_BYTES_MAX: u64 = MIB;

/// The signing relay. Its secrets are never flags: set the variables `BULKHEAD_UPSTREAM_API_KEY` and
/// `BULKHEAD_WEBHOOK_SECRET`, or name files.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Signing")]
pub(crate) struct SigningSettings {
    /// Address of the signing API, as in `https://api.example`; without it there is no relay.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub(crate) upstream_url: Option<String>,
    /// File with the API's key, instead of the variable `BULKHEAD_UPSTREAM_API_KEY`.
    #[arg(long, value_name = "FILE")]
    pub(crate) upstream_api_key_file: Option<PathBuf>,
    /// The API's RSA public key in PEM, or a file with it: signatures then have to verify.
    #[arg(
        long,
        value_name = "PEM|FILE",
        allow_hyphen_values = true,
        hide_env_values = true
    )]
    pub(crate) upstream_public_key: Option<String>,
    /// Calls that the API allows in any window, whatever they ask.
    #[arg(long, default_value_t = 10, value_parser = numbers(1, 10_000_u32))]
    pub(crate) upstream_calls: u32,
    /// Length of that window: --upstream-calls in any such time.
    #[arg(long, default_value = "60s", value_parser = durations(SECOND, DAY))]
    pub(crate) upstream_window: Duration,
    /// Added to the window, for what the network delays.
    #[arg(long, default_value = "1s", value_parser = durations(Duration::ZERO, DAY))]
    pub(crate) upstream_margin: Duration,
    /// Time for one call, from its claim to the end of its answer.
    #[arg(long, default_value = "10s", value_parser = durations(Duration::from_millis(100), DAY))]
    pub(crate) upstream_timeout: Duration,
    /// Octets of an answer of the API; a longer one is a failed call.
    #[arg(long, default_value = "64KiB", value_parser = sizes(KIB, 16 * MIB))]
    pub(crate) upstream_answer_max: ByteSize,
    #[command(flatten)]
    pub(crate) store: StoreSettings,
    /// Messages that wait to be signed; over it the answer is 503.
    #[arg(long, default_value_t = 100_000, value_parser = numbers(1, 100_000_000_u64))]
    pub(crate) backlog_max: u64,
    /// Requests that wait for the same message, each with a callback of its own; over it the answer is
    /// 503.
    #[arg(long, default_value_t = 100, value_parser = numbers(1, 100_000_u32))]
    pub(crate) callers_max: u32,
    /// Octets of a message to be signed; over it the answer is 413. The API gets it percent-encoded in
    /// the target of a request, which has room for so much.
    #[arg(long, default_value = "16KiB", value_parser = sizes(1, MESSAGE_LIMIT_MAX))]
    pub(crate) message_max: ByteSize,
    /// Time in which every request for a signature is answered, with or without one; at most 1900ms.
    #[arg(
        long,
        default_value = "1500ms",
        value_parser = durations(Duration::from_millis(10), SIGN_TIMEOUT_LIMIT_MAX)
    )]
    pub(crate) sign_timeout: Duration,
    /// How long finished requests are kept; what is pending never expires.
    #[arg(long, default_value = "90d", value_parser = durations(SECOND, DAY * 36_500))]
    pub(crate) retention: Duration,
    /// File with the secret that webhooks are signed with (`whsec_` and base64), instead of the
    /// variable `BULKHEAD_WEBHOOK_SECRET`. Without either they are not signed.
    #[arg(long, value_name = "FILE")]
    pub(crate) webhook_secret_file: Option<PathBuf>,
    /// Time for one try of a webhook; at most 50s.
    #[arg(
        long,
        default_value = "15s",
        value_parser = durations(Duration::from_millis(100), WEBHOOK_TIMEOUT_LIMIT_MAX)
    )]
    pub(crate) webhook_timeout: Duration,
    /// Webhooks under way at the same time.
    #[arg(long, default_value_t = 256, value_parser = numbers(1, 10_000_u32))]
    pub(crate) webhooks_max: u32,
    /// Webhooks under way at one host at the same time: a slow one holds up no other.
    #[arg(long, default_value_t = 4, value_parser = numbers(1, 10_000_u32))]
    pub(crate) webhooks_per_host_max: u32,
    /// Hosts and networks that callbacks may go to although their addresses are not public, with
    /// commas between them, as in `hooks.internal,10.1.0.0/16`.
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub(crate) callback_allow: Vec<Allowed>,
    /// Memory of one sandbox of the signing component; it holds a message.
    #[arg(long, default_value = "32MiB", value_parser = sizes(8 * MIB, 4 * GIB))]
    pub(crate) signing_memory_max: ByteSize,
    /// Wall-clock time of one call of the signing component.
    #[arg(
        long,
        default_value = "1s",
        value_parser = durations(Duration::from_millis(10), Duration::from_mins(1))
    )]
    pub(crate) signing_timeout: Duration,
    /// Signatures that wait to be verified under the public key; over it the answer is 503.
    #[arg(long, default_value_t = 64, value_parser = numbers(1, 100_000_u32))]
    pub(crate) verify_queue_max: u32,
}

/// Why the public key cannot be used.
#[derive(Debug, Error)]
#[error("{PUBLIC_KEY} is no key in PEM, and the file that it names {0}")]
pub(crate) struct PublicKeyError(#[source] FileError);

impl SigningSettings {
    pub(crate) fn quota(&self) -> Quota {
        Quota {
            calls: self.upstream_calls,
            window_ms: millis(self.upstream_window),
            call_ms: millis(self.upstream_timeout),
            margin_ms: millis(self.upstream_margin),
        }
    }

    /// A fifth of the calls, but one at least.
    pub(crate) fn checks_max(&self) -> u32 {
        (self.upstream_calls / 5).max(1)
    }

    /// The public key, read if a file is named.
    pub(crate) fn public_key(&self) -> Result<Option<String>, PublicKeyError> {
        match &self.upstream_public_key {
            None => Ok(None),
            Some(key) if key.contains(PEM) => Ok(Some(key.clone())),
            Some(file) => {
                let key = files::read_text(Path::new(file), KEY_FILE_BYTES_MAX);
                key.map(Some).map_err(PublicKeyError)
            }
        }
    }

    /// What is wrong with the settings together.
    pub(crate) fn contradictions(&self) -> Vec<String> {
        self.store.contradictions()
    }
}
