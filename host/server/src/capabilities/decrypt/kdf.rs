//! Settings of key derivation.

use crate::config::units::{TIB, numbers, processors, sizes};
use bulkhead_http::{ByteSize, setting};
use bulkhead_kdf::Path;
use clap::Args;

/// Octets of key derivation that may wait, by default. A thread takes a second for them, side by
/// side, or four, one after the other.
const QUEUE_A_THREAD: u64 = 4 << 30;

/// Who derives keys (S2K), and how much of it may wait.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Key derivation")]
#[expect(
    clippy::struct_field_names,
    reason = "the fields have the names of their flags"
)]
pub(crate) struct KdfSettings {
    /// Threads that derive keys, for all messages together [default: one a processor].
    #[arg(long, value_parser = numbers(1, 512_u16))]
    pub(crate) kdf_threads: Option<u16>,
    /// Octets still to be hashed for all messages together, those of slow hashes counted up to twelve
    /// times; over it the answer is 503, with the time after which there is room. A message that is
    /// alone is always taken [default: 4GiB a thread].
    #[arg(long, value_parser = sizes(1, 4 * TIB))]
    pub(crate) kdf_queue_max: Option<ByteSize>,
    /// How keys are derived. auto takes what is fastest for the messages at hand: mostly the
    /// processor's SHA instructions for a few, vectors for many. The others are for comparisons, and
    /// for those whom docs/security/threat-model.md gives a reason.
    #[arg(long, value_enum, default_value = "auto", value_name = "METHOD")]
    pub(crate) kdf_path: KdfPath,
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
        let threads = self.kdf_threads.unwrap_or_else(|| processors(512));
        let octets_max = self.kdf_queue_max.map(ByteSize::bytes);
        bulkhead_kdf::Setup {
            threads: threads.into(),
            path: self.kdf_path.path(),
            octets_max: octets_max.unwrap_or(u64::from(threads) * QUEUE_A_THREAD),
        }
    }

    /// What is wrong with the settings on this machine.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let path = self.kdf_path.path().filter(|path| !path.is_available())?;
        Some(format!(
            "{} is {path}, which this processor does not have; auto takes the best that it has",
            setting!(Self, kdf_path)
        ))
    }
}
