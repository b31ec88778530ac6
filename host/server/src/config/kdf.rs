//! Settings of key derivation.

use super::units::{number_within, octets_within};
use super::{TIB, processors};
use bulkhead_kdf::Path;
use clap::Args;

/// Octets of key derivation that may wait, by default. A thread takes a second for them, side by
/// side, or four, one after the other.
const QUEUE_A_THREAD: u64 = 4 << 30;

/// Who derives keys (S2K), and how much of it may wait.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Key derivation")]
pub(crate) struct KdfSettings {
    /// Threads that derive keys, for all messages together [default: one a processor].
    #[arg(long = "kdf-threads", env = "BULKHEAD_KDF_THREADS", value_name = "N", value_parser = number_within(1, 512_u16))]
    pub(crate) threads: Option<u16>,
    /// Octets still to be hashed for all messages together, those of slow hashes counted up to twelve
    /// times; over it the answer is 503, with the time after which there is room. A message that is
    /// alone is always taken [default: 4GiB a thread].
    #[arg(long = "kdf-queue-max", env = "BULKHEAD_KDF_QUEUE_MAX", value_parser = octets_within(1, 4 * TIB), value_name = "SIZE")]
    pub(crate) queue_octets: Option<usize>,
    /// How keys are derived. auto takes what is fastest for the messages at hand: mostly the
    /// processor's SHA instructions for a few, vectors for many. The others are for comparisons, and
    /// for those whom docs/security/threat-model.md gives a reason.
    #[arg(
        long = "kdf-path",
        env = "BULKHEAD_KDF_PATH",
        value_enum,
        default_value = "auto",
        value_name = "METHOD"
    )]
    pub(crate) path: KdfPath,
}

/// A way to derive keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KdfPath {
    Auto,
    /// One after the other, without vectors; with the processor's SHA instructions if it has them.
    Plain,
    /// Two at a time with the processor's SHA instructions.
    ShaNi,
    /// Up to sixteen at a time in vectors of 512 bits.
    Avx512,
    /// Up to eight at a time in vectors of 256 bits.
    Avx2,
}

impl KdfPath {
    fn path(self) -> Option<Path> {
        match self {
            Self::Auto => None,
            Self::Plain => Some(Path::Plain),
            Self::ShaNi => Some(Path::ShaNi),
            Self::Avx512 => Some(Path::Avx512),
            Self::Avx2 => Some(Path::Avx2),
        }
    }
}

impl KdfSettings {
    /// For the engine.
    pub(crate) fn setup(&self) -> bulkhead_kdf::Setup {
        let threads = self.threads.unwrap_or_else(|| processors(512));
        let octets_max = self.queue_octets.map(|octets| octets as u64);
        bulkhead_kdf::Setup {
            threads: threads.into(),
            path: self.path.path(),
            octets_max: octets_max.unwrap_or(u64::from(threads) * QUEUE_A_THREAD),
        }
    }

    /// What no flag can judge alone.
    pub(super) fn contradiction(&self) -> Option<String> {
        let path = self.path.path().filter(|path| !path.is_available())?;
        Some(format!(
            "--kdf-path (BULKHEAD_KDF_PATH) is {path}, which this processor does not have; auto takes the \
             best that it has"
        ))
    }
}
