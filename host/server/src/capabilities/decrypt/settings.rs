//! Settings of the decrypt capability.

use super::kdf::KdfSettings;
use crate::capabilities::Inspection;
use crate::config::units::{GIB, MIB, TIB, duration_above_zero, numbers, processors, sizes};
use bulkhead_http::{ByteSize, setting};
use bulkhead_sandbox::{DecryptLimits, KdfLimits};
use clap::Args;
use std::time::Duration;

/// Default number of messages in a sandbox for each processor. With two passes each they fill the vectors of
/// a thread twice.
const INSTANCES_PER_PROCESSOR: u16 = 16;

/// Limits on one message and on the number of messages.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Decrypt")]
pub(crate) struct DecryptSettings {
    /// Maximum number of messages in a sandbox at the same time. Most of these messages wait for
    /// key derivation. Further messages wait in a queue [default: 16 per processor].
    #[arg(long, value_parser = numbers(1, 4096_u16))]
    pub(crate) decrypt_instances: Option<u16>,
    /// Maximum number of messages that compute (parse, decrypt, decompress) at the same time [default: one
    /// per processor].
    #[arg(long, value_parser = numbers(1, 512_u16))]
    pub(crate) decrypt_workers: Option<u16>,
    /// Maximum number of messages that wait for a sandbox. If it is exceeded, the response is 503.
    #[arg(long, default_value_t = 64, value_parser = numbers(1, 100_000_u32))]
    pub(crate) decrypt_queue_max: u32,
    /// Time that a message may wait for a sandbox. If it is exceeded, the response is 503.
    #[arg(long, default_value = "30s", value_parser = duration_above_zero)]
    pub(crate) decrypt_queue_timeout: Duration,
    /// Wall-clock time of one message in its sandbox. If it is exceeded, the response is 422.
    #[arg(long, default_value = "20s", value_parser = duration_above_zero)]
    pub(crate) decrypt_timeout: Duration,
    /// Maximum memory of one decrypt sandbox. If it is exceeded, the response is 422.
    #[arg(long, default_value = "256MiB", value_parser = sizes(4 * MIB, 4 * GIB))]
    pub(crate) guest_memory_max: ByteSize,
    /// Maximum size of the plaintext of one message. If this or one of the following limits on a message
    /// is exceeded, the response is 422.
    #[arg(long, default_value = "32MiB", value_parser = sizes(1, GIB))]
    pub(crate) plaintext_max: ByteSize,
    /// Maximum number of nested compression layers.
    #[arg(long, default_value_t = 4, value_parser = numbers(0, 1024_u32))]
    pub(crate) compression_layers_max: u32,
    /// Maximum number of plaintext bytes per encrypted byte. The limit applies after the first 1 MiB of
    /// plaintext.
    #[arg(long, default_value_t = 4096, value_parser = numbers(1, 1_000_000_u32))]
    pub(crate) compression_ratio_max: u32,
    /// Maximum number of session-key packets (passphrases and public keys) of one message.
    #[arg(long, default_value_t = 16, value_parser = numbers(1, 1024_u32))]
    pub(crate) session_keys_max: u32,
    /// Maximum size of the armor headers before the data.
    #[arg(long, default_value = "64KiB", value_parser = sizes(0, GIB))]
    pub(crate) armor_headers_max: ByteSize,
    /// Maximum number of bytes that S2K hashes for one message, over all its session-key packets. 16
    /// packets with GnuPG's default parameters need 1.94 GiB.
    #[arg(long, default_value = "2GiB", value_parser = sizes(0, TIB))]
    pub(crate) s2k_bytes_max: ByteSize,
    /// Maximum memory of one Argon2 derivation, in addition to the sandbox. The samples of RFC 9580 need
    /// 2 GiB.
    #[arg(long, default_value = "64MiB", value_parser = sizes(0, 64 * GIB))]
    pub(crate) argon2_memory_max: ByteSize,
    /// Maximum number of passes of one Argon2 derivation.
    #[arg(long, default_value_t = 10, value_parser = numbers(1, 255_u8))]
    pub(crate) argon2_passes_max: u8,
    #[command(flatten)]
    pub(crate) kdf: KdfSettings,
}

impl DecryptSettings {
    /// Returns the maximum number of messages that compute at the same time: the setting, or one per
    /// processor.
    pub(crate) fn workers(&self) -> u16 {
        self.decrypt_workers.unwrap_or_else(|| processors(512))
    }

    /// Returns the maximum number of messages in a sandbox at the same time: the setting, or 16 per processor
    /// and at least [`workers`](Self::workers).
    pub(crate) fn instances(&self) -> u16 {
        let default = || INSTANCES_PER_PROCESSOR * processors(4096 / INSTANCES_PER_PROCESSOR);
        self.decrypt_instances
            .unwrap_or_else(|| default().max(self.workers()))
    }

    /// Returns the limits on one message that the component enforces.
    pub(crate) fn message_limits(&self) -> DecryptLimits {
        DecryptLimits {
            plaintext_bytes: self.plaintext_max.bytes(),
            compression_layers: self.compression_layers_max,
            compression_ratio: self.compression_ratio_max,
            session_key_packets: self.session_keys_max,
            armor_header_bytes: u32::try_from(self.armor_headers_max.bytes()).unwrap_or(u32::MAX),
        }
    }

    /// Returns the limits on key derivation for one message, which the host enforces.
    pub(crate) fn key_limits(&self) -> KdfLimits {
        KdfLimits {
            s2k_bytes: self.s2k_bytes_max.bytes(),
            argon2_memory_kib: self.argon2_memory_max.bytes() / 1024,
            argon2_passes: self.argon2_passes_max.into(),
        }
    }

    pub(crate) fn contradictions(&self) -> Vec<String> {
        let (instances, workers) = (self.instances(), self.workers());
        let too_few = (instances < workers).then(|| {
            format!(
                "{} is {instances}, which is less than {} ({workers}), so that some workers would never have a \
                 message. Raise the first or lower the second",
                setting!(Self, decrypt_instances),
                setting!(Self, decrypt_workers)
            )
        });
        too_few
            .into_iter()
            .chain(self.kdf.contradiction())
            .collect()
    }

    pub(crate) fn inspect(&self) -> Inspection {
        let keys = self.kdf.setup();
        Inspection {
            defaults: vec![
                ("decrypt-instances", self.instances().to_string()),
                ("decrypt-workers", self.workers().to_string()),
                ("kdf-threads", keys.threads.to_string()),
                ("kdf-queue-max", format!("{}B", keys.bytes_max)),
            ],
            ..Inspection::default()
        }
    }
}
