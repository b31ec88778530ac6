//! Settings of the signing relay.

use super::pem::{PEM, normalised};
use super::store_settings::StoreSettings;
use crate::config::files::{self, FileError};
use crate::config::units::{GIB, KIB, MIB, durations, millis, numbers, sizes};
use bulkhead_http::{ByteSize, Setting, setting};
use bulkhead_outbound::AllowRule;
use bulkhead_store::Quota;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// Less than the lease of a notification in the store (60 s), so that there is time to store the result.
const WEBHOOK_TIMEOUT_LIMIT_MAX: Duration = Duration::from_secs(50);

/// A request for a signature is answered within two seconds. The remaining 100 ms are for sending the
/// response.
const SIGN_TIMEOUT_LIMIT_MAX: Duration = Duration::from_millis(1900);

/// A request target has at most 65,534 bytes. Each byte of the message takes up to three of them, and the
/// rest of the target needs some.
const MESSAGE_LIMIT_MAX: u64 = 21 * KIB;

/// The setting with the public key.
pub(super) const PUBLIC_KEY: Setting = setting!(SigningSettings, upstream_public_key);

/// Maximum size of a key file. A larger file is probably the wrong one.
const KEY_FILE_BYTES_MAX: u64 = MIB;

/// Settings of the signing relay. Its secrets are never flags. They are the variables
/// `BULKHEAD_UPSTREAM_API_KEY` and `BULKHEAD_WEBHOOK_SECRET`, or files.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Signing")]
pub(crate) struct SigningSettings {
    /// Address of the signing API, as in `https://api.example`. Without it there is no relay, and no store
    /// is opened.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub(crate) upstream_url: Option<String>,
    /// File with the API key, instead of the variable `BULKHEAD_UPSTREAM_API_KEY`. It is read again on
    /// SIGHUP. Without either, calls are made without a key.
    #[arg(long, value_name = "FILE")]
    pub(crate) upstream_api_key_file: Option<PathBuf>,
    /// RSA public key of the signing API in PEM, or a file with it. Signatures must then verify under this
    /// key.
    #[arg(
        long,
        value_name = "PEM|FILE",
        allow_hyphen_values = true,
        hide_env_values = true
    )]
    pub(crate) upstream_public_key: Option<String>,
    /// Number of calls that the signing API allows in any window, over all kinds of calls. Further
    /// messages wait.
    #[arg(long, default_value_t = 10, value_parser = numbers(1, 10_000_u32))]
    pub(crate) upstream_calls: u32,
    /// Length of the window of --upstream-calls.
    #[arg(long, default_value = "60s", value_parser = durations(SECOND, DAY))]
    pub(crate) upstream_window: Duration,
    /// Time added to the window for delays in the network.
    #[arg(long, default_value = "1s", value_parser = durations(Duration::ZERO, DAY))]
    pub(crate) upstream_margin: Duration,
    /// Time for one call of the signing API, from its claim to the end of the response. A call that takes
    /// longer fails.
    #[arg(long, default_value = "10s", value_parser = durations(Duration::from_millis(100), DAY))]
    pub(crate) upstream_timeout: Duration,
    /// Maximum size of a response of the signing API. A call with a longer response fails.
    #[arg(long, default_value = "64KiB", value_parser = sizes(KIB, 16 * MIB))]
    pub(crate) upstream_response_max: ByteSize,
    #[command(flatten)]
    pub(crate) store: StoreSettings,
    /// Maximum number of messages that wait for a signature. If it is exceeded, the response is 503.
    #[arg(long, default_value_t = 100_000, value_parser = numbers(1, 100_000_000_u64))]
    pub(crate) backlog_max: u64,
    /// Maximum number of requests of a caller that wait for the same message, each with its own callback.
    /// If it is exceeded, the response is 503.
    #[arg(long, default_value_t = 100, value_parser = numbers(1, 100_000_u32))]
    pub(crate) callers_max: u32,
    /// Maximum size of a message to sign; at most 21KiB, because it becomes part of a request target. A
    /// larger message is rejected with 413.
    #[arg(long, default_value = "16KiB", value_parser = sizes(1, MESSAGE_LIMIT_MAX))]
    pub(crate) message_max: ByteSize,
    /// Time in which a request for a signature is answered, with or without the signature; at most 1900ms.
    /// If there is no signature by then, the response is 202.
    #[arg(
        long,
        default_value = "1500ms",
        value_parser = durations(Duration::from_millis(10), SIGN_TIMEOUT_LIMIT_MAX)
    )]
    pub(crate) sign_timeout: Duration,
    /// Time that finished requests are kept. Pending requests never expire.
    #[arg(long, default_value = "90d", value_parser = durations(SECOND, DAY * 36_500))]
    pub(crate) retention: Duration,
    /// File with the webhook secret (`whsec_` and base64), instead of the variable
    /// `BULKHEAD_WEBHOOK_SECRET`. It is read again on SIGHUP. Without either, webhooks are not signed.
    #[arg(long, value_name = "FILE")]
    pub(crate) webhook_secret_file: Option<PathBuf>,
    /// File with the previous webhook secret, instead of the variable `BULKHEAD_WEBHOOK_SECRET_PREVIOUS`.
    /// Webhooks then carry a signature of each secret. The file may be missing or empty.
    #[arg(long, value_name = "FILE")]
    pub(crate) webhook_secret_previous_file: Option<PathBuf>,
    /// Time for one webhook attempt; at most 50s. An attempt that takes longer fails.
    #[arg(
        long,
        default_value = "15s",
        value_parser = durations(Duration::from_millis(100), WEBHOOK_TIMEOUT_LIMIT_MAX)
    )]
    pub(crate) webhook_timeout: Duration,
    /// Maximum number of webhooks in flight. Further webhooks wait.
    #[arg(long, default_value_t = 256, value_parser = numbers(1, 10_000_u32))]
    pub(crate) webhooks_max: u32,
    /// Maximum number of webhooks in flight to one host, so that one slow receiver does not delay the
    /// others.
    #[arg(long, default_value_t = 4, value_parser = numbers(1, 10_000_u32))]
    pub(crate) webhooks_per_host_max: u32,
    /// Hosts and networks that callbacks may go to although their addresses are not public, separated by
    /// commas, as in `hooks.internal,10.1.0.0/16`.
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub(crate) callback_allow: Vec<AllowRule>,
    /// Maximum memory of one signing sandbox. It holds one message. A call that exceeds it fails.
    #[arg(long, default_value = "32MiB", value_parser = sizes(8 * MIB, 4 * GIB))]
    pub(crate) signing_memory_max: ByteSize,
    /// Wall-clock time of one call of the signing component. A call that takes longer fails.
    #[arg(
        long,
        default_value = "1s",
        value_parser = durations(Duration::from_millis(10), Duration::from_mins(1))
    )]
    pub(crate) signing_timeout: Duration,
    /// Maximum number of signatures that wait for verification under the public key. If it is exceeded,
    /// the response is 503.
    #[arg(long, default_value_t = 64, value_parser = numbers(1, 100_000_u32))]
    pub(crate) verify_queue_max: u32,
}

/// The public key cannot be used.
#[derive(Debug, Error)]
#[error("{PUBLIC_KEY} is not a PEM key, and the file with this name {0}")]
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

    /// Returns the maximum number of calls for verifications and checks of the key: a fifth of all calls, and
    /// at least one.
    pub(crate) fn checks_max(&self) -> u32 {
        (self.upstream_calls / 5).max(1)
    }

    /// Returns the public key in PEM, with regular line breaks. Reads it if the setting names a file.
    ///
    /// # Errors
    /// [`PublicKeyError`] if the file cannot be read.
    pub(crate) fn public_key(&self) -> Result<Option<String>, PublicKeyError> {
        match &self.upstream_public_key {
            None => Ok(None),
            Some(key) if key.contains(PEM) => Ok(Some(normalised(key))),
            Some(file) => {
                let key = files::read_text(Path::new(file), KEY_FILE_BYTES_MAX);
                key.map(|key| Some(normalised(&key)))
                    .map_err(PublicKeyError)
            }
        }
    }

    /// Returns an error text for each contradiction between the settings.
    pub(crate) fn contradictions(&self) -> Vec<String> {
        self.store.contradictions()
    }
}
