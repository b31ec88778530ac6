//! Settings of key derivation.

use crate::config::units::{TIB, numbers, processors, sizes};
use bulkhead_http::{ByteSize, setting};
use bulkhead_kdf::Path;
use clap::Args;

/// Default of `--kdf-queue-max` for each thread, in bytes to hash. A thread hashes them in one second with
/// vectors, or in four seconds without.
const QUEUE_BYTES_PER_THREAD: u64 = 4 << 30;

/// Settings of the threads that derive keys (S2K) and of their queue.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Key derivation")]
#[expect(
    clippy::struct_field_names,
    reason = "the fields have the names of their flags"
)]
pub(crate) struct KdfSettings {
    /// Number of threads that derive keys for all messages [default: one per processor].
    #[arg(long, value_parser = numbers(1, 512_u16))]
    pub(crate) kdf_threads: Option<u16>,
    /// Maximum key-derivation backlog over all messages, in bytes to hash. Slow hashes count up to 12
    /// times. If it is exceeded, the response is 503, with the expected wait in Retry-After. A job is
    /// accepted when the queue is empty, whatever its size, and while its caller (the name of its access
    /// key) is within an equal part of the maximum [default: 4GiB per thread].
    #[arg(long, value_parser = sizes(1, 4 * TIB))]
    pub(crate) kdf_queue_max: Option<ByteSize>,
    /// Implementation of key derivation. auto selects the fastest for the current messages: usually the
    /// SHA instructions of the processor for a few messages, and vectors for many. The other values are
    /// for benchmarks, and for servers shared by clients who do not trust each other (see
    /// docs/security/threat-model.md).
    #[arg(long, value_enum, default_value = "auto", value_name = "METHOD")]
    pub(crate) kdf_path: KdfPath,
}

/// An implementation of key derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KdfPath {
    Auto,
    /// One key at a time without vectors, and with the SHA instructions if the processor has them.
    Plain,
    /// Two keys at a time with the SHA instructions of the processor.
    ShaNi,
    /// Up to 16 keys at a time in vectors of 512 bits.
    Avx512,
    /// Up to 8 keys at a time in vectors of 256 bits.
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
    /// Returns the settings of the engine.
    pub(crate) fn setup(&self) -> bulkhead_kdf::Setup {
        let threads = self.kdf_threads.unwrap_or_else(|| processors(512));
        let bytes_max = self.kdf_queue_max.map(ByteSize::bytes);
        bulkhead_kdf::Setup {
            threads: threads.into(),
            path: self.kdf_path.path(),
            bytes_max: bytes_max.unwrap_or(u64::from(threads) * QUEUE_BYTES_PER_THREAD),
        }
    }

    /// Returns an error text if this machine does not support the settings.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let path = self.kdf_path.path().filter(|path| !path.is_available())?;
        Some(format!(
            "{} is {path}, which this processor does not support. Use auto",
            setting!(Self, kdf_path)
        ))
    }
}
