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

/// What the token component needs beside the body.
const MEMORY_BESIDE_BODY: u64 = 2 * MIB;

/// The token capability. The secret itself is never a flag: set the variable `SECRET`, or name a
/// file.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Token")]
pub(crate) struct TokenSettings {
    /// File with the shared secret, instead of the variable `SECRET`; read again on SIGHUP. One line
    /// end at its end is not part of the secret.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// File with the secret before that one, instead of the variable `SECRET_PREVIOUS`: it still
    /// verifies.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_previous_file: Option<PathBuf>,
    /// The hash under the HMAC.
    #[arg(long, value_enum, default_value = "sha256", value_name = "HASH")]
    pub(crate) token_algorithm: TokenAlgorithm,
    /// Bodies up to this size are worked on where they were read, in microseconds; larger ones
    /// by the token workers.
    #[arg(long, default_value = "64KiB", value_parser = sizes(0, MIB))]
    pub(crate) token_inline_max: ByteSize,
    /// Large bodies worked on at the same time.
    #[arg(long, default_value_t = 1, value_parser = numbers(1, 512_u16))]
    pub(crate) token_workers: u16,
    /// Large bodies that wait for a worker; over it the answer is 503.
    #[arg(long, default_value_t = 64, value_parser = numbers(1, 100_000_u32))]
    pub(crate) token_queue_max: u32,
    /// Wall-clock time of one large body in its sandbox.
    #[arg(long, default_value = "5s", value_parser = duration_above_zero)]
    pub(crate) token_timeout: Duration,
    /// Memory of one sandbox; it holds the body.
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
                "{} is {memory}, too little for a body of {}, {body}, and {beside} beside it",
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
            let line = format!("# {name} has less than {STRONG_BYTES} octets, which is weak");
            inspection.secrets.push(line);
        }
        inspection
    }

    /// The secrets as they are now.
    pub(crate) fn secrets(&self) -> Result<Option<Secrets>, SecretError> {
        Secrets::load(
            self.secret_file.as_deref(),
            self.secret_previous_file.as_deref(),
        )
    }
}

/// The hash under the HMAC, as settings name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TokenAlgorithm {
    /// For clients of an older service.
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
