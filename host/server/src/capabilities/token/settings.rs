//! Settings of the token capability.

use super::secrets::Secrets;
use crate::capabilities::Inspection;
use crate::config::http::HttpSettings;
use crate::config::secrets::{STRONG_BYTES, SecretError, set_or_not};
use crate::config::units::{GIB, MIB, duration_above_zero, numbers, sizes};
use bulkhead_http::{ByteSize, setting};
use bulkhead_sandbox::Algorithm;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Memory that the token component needs in addition to the body, in bytes.
const MEMORY_BESIDE_BODY: u64 = 2 * MIB;

/// Settings of the token capability. The secret is never a flag. It is the variable `SECRET` or a file.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Token")]
pub(crate) struct TokenSettings {
    /// File with the token secret, instead of the variable `SECRET`. It is read again on SIGHUP. One line
    /// end at the end of the file is not part of the secret.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// File with the previous token secret, instead of the variable `SECRET_PREVIOUS`. Tokens made with it
    /// are still valid. If the file is missing or empty, there is no previous secret.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_previous_file: Option<PathBuf>,
    /// Hash of the HMAC.
    #[arg(long, value_enum, default_value = "sha256", value_name = "HASH")]
    pub(crate) token_algorithm: TokenAlgorithm,
    /// Maximum size of a body that is processed on the I/O thread, which takes microseconds. Larger bodies go
    /// to a token worker.
    #[arg(long, default_value = "64KiB", value_parser = sizes(0, MIB))]
    pub(crate) token_inline_max: ByteSize,
    /// Maximum number of larger bodies that are processed at the same time.
    #[arg(long, default_value_t = 1, value_parser = numbers(1, 512_u16))]
    pub(crate) token_workers: u16,
    /// Maximum number of larger bodies that wait for a worker. If it is exceeded, the response is 503.
    #[arg(long, default_value_t = 64, value_parser = numbers(1, 100_000_u32))]
    pub(crate) token_queue_max: u32,
    /// Wall-clock time of one larger body in its sandbox. If it is exceeded, the response is 503.
    #[arg(long, default_value = "5s", value_parser = duration_above_zero)]
    pub(crate) token_timeout: Duration,
    /// Maximum memory of one token sandbox. It holds the body, and must be at least 2 MiB more than
    /// --body-max.
    #[arg(long, default_value = "64MiB", value_parser = sizes(4 * MIB, 4 * GIB))]
    pub(crate) token_memory_max: ByteSize,
}

impl TokenSettings {
    pub(crate) fn contradictions(&self, http: &HttpSettings) -> Vec<String> {
        let (memory, body) = (self.token_memory_max, http.body_max);
        let is_too_little = memory.bytes() < body.bytes() + MEMORY_BESIDE_BODY;
        let beside = ByteSize::new(MEMORY_BESIDE_BODY);
        let too_little = is_too_little.then(|| {
            format!(
                "{} is {memory}, which is too little for a body of {} ({body}) and {beside} more. Raise the first \
                 or lower the second",
                setting!(Self, token_memory_max),
                setting!(HttpSettings, body_max)
            )
        });
        too_little.into_iter().collect()
    }

    pub(crate) fn inspect(&self) -> Inspection {
        let mut inspection = Inspection::default();
        let secrets = match self.secrets() {
            Ok(secrets) => secrets,
            Err(error) => {
                inspection.problems.push(error.to_string());
                return inspection;
            }
        };
        let previous = secrets
            .as_ref()
            .and_then(|secrets| secrets.previous.as_ref());
        inspection.secrets = vec![
            set_or_not("SECRET", secrets.is_some()),
            set_or_not("SECRET_PREVIOUS", previous.is_some()),
        ];
        for name in secrets.iter().flat_map(Secrets::weak) {
            let line = format!("# {name} has fewer than {STRONG_BYTES} bytes, which is weak");
            inspection.secrets.push(line);
        }
        for (name, oddity) in secrets.iter().flat_map(Secrets::odd) {
            inspection.secrets.push(format!("# {name} {oddity}"));
        }
        inspection
    }

    /// Reads the current secrets. Returns `None` if none are set.
    ///
    /// # Errors
    /// [`SecretError`] if a secret cannot be used.
    pub(crate) fn secrets(&self) -> Result<Option<Secrets>, SecretError> {
        Secrets::load(
            self.secret_file.as_deref(),
            self.secret_previous_file.as_deref(),
        )
    }
}

/// The hash of the HMAC, by its name in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TokenAlgorithm {
    /// For clients of older services.
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl TokenAlgorithm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "HMAC-SHA1",
            Self::Sha256 => "HMAC-SHA256",
            Self::Sha384 => "HMAC-SHA384",
            Self::Sha512 => "HMAC-SHA512",
        }
    }
}

impl From<TokenAlgorithm> for Algorithm {
    fn from(algorithm: TokenAlgorithm) -> Self {
        match algorithm {
            TokenAlgorithm::Sha1 => Self::Sha1,
            TokenAlgorithm::Sha256 => Self::Sha256,
            TokenAlgorithm::Sha384 => Self::Sha384,
            TokenAlgorithm::Sha512 => Self::Sha512,
        }
    }
}
