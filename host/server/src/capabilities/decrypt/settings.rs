//! Settings of the decrypt capability.

use super::kdf::KdfSettings;
use crate::capabilities::Inspection;
use crate::config::units::{GIB, MIB, TIB, duration_above_zero, numbers, processors, sizes};
use bulkhead_http::{ByteSize, setting};
use bulkhead_sandbox::{DecryptLimits, KdfLimits};
use clap::Args;
use std::time::Duration;

/// Messages in a sandbox for each processor, by default: with two passes each they fill the vectors of a
/// thread twice over.
const INSTANCES_PER_PROCESSOR: u16 = 16;

/// Limits on one message, and on how many are worked on.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Decrypt")]
pub(crate) struct DecryptSettings {
    /// Messages in a sandbox at the same time, most of them waiting for their keys [default: 16 a
    /// processor].
    #[arg(long, value_parser = numbers(1, 4096_u16))]
    pub(crate) decrypt_instances: Option<u16>,
    /// Of these, how many compute at the same time: parse, decrypt, unpack [default: one a processor].
    #[arg(long, value_parser = numbers(1, 512_u16))]
    pub(crate) decrypt_workers: Option<u16>,
    /// Messages that wait for a sandbox; over it the answer is 503.
    #[arg(long, default_value_t = 64, value_parser = numbers(1, 100_000_u32))]
    pub(crate) decrypt_queue_max: u32,
    /// Time for a message to wait for a sandbox; over it the answer is 503.
    #[arg(long, default_value = "30s", value_parser = duration_above_zero)]
    pub(crate) decrypt_queue_timeout: Duration,
    /// Wall-clock time of one message in its sandbox.
    #[arg(long, default_value = "20s", value_parser = duration_above_zero)]
    pub(crate) decrypt_timeout: Duration,
    /// Memory of one sandbox.
    #[arg(long, default_value = "256MiB", value_parser = sizes(4 * MIB, 4 * GIB))]
    pub(crate) guest_memory_max: ByteSize,
    /// Octets of plaintext; over it, and over all limits on a message below, the answer is 422.
    #[arg(long, default_value = "32MiB", value_parser = sizes(1, GIB))]
    pub(crate) plaintext_max: ByteSize,
    /// Layers of compression.
    #[arg(long, default_value_t = 4, value_parser = numbers(0, 1024_u32))]
    pub(crate) compression_layers_max: u32,
    /// Plaintext octets for each encrypted octet, where the plaintext is past 1 MiB.
    #[arg(long, default_value_t = 4096, value_parser = numbers(1, 1_000_000_u32))]
    pub(crate) compression_ratio_max: u32,
    /// Session-key packets (passphrases and public keys) of one message.
    #[arg(long, default_value_t = 16, value_parser = numbers(1, 1024_u32))]
    pub(crate) session_keys_max: u32,
    /// Octets of armor headers before the data.
    #[arg(long, default_value = "64KiB", value_parser = sizes(0, GIB))]
    pub(crate) armor_headers_max: ByteSize,
    /// Octets hashed for key derivation (S2K), over all session-key packets of a message. 16 of
    /// today's default kind take 1.94 GiB.
    #[arg(long, default_value = "2GiB", value_parser = sizes(0, TIB))]
    pub(crate) s2k_octets_max: ByteSize,
    /// Memory for one key derivation with Argon2, beside the sandbox's own. The samples of RFC 9580 ask for 2 GiB.
    #[arg(long, default_value = "64MiB", value_parser = sizes(0, 64 * GIB))]
    pub(crate) argon2_memory_max: ByteSize,
    /// Passes of one key derivation with Argon2.
    #[arg(long, default_value_t = 10, value_parser = numbers(1, 255_u8))]
    pub(crate) argon2_passes_max: u8,
    #[command(flatten)]
    pub(crate) kdf: KdfSettings,
}

impl DecryptSettings {
    /// Messages that compute at the same time: as set, or one a processor.
    pub(crate) fn workers(&self) -> u16 {
        self.decrypt_workers.unwrap_or_else(|| processors(512))
    }

    /// Messages in a sandbox at the same time: as set, or some for each processor.
    pub(crate) fn instances(&self) -> u16 {
        let default = || INSTANCES_PER_PROCESSOR * processors(4096 / INSTANCES_PER_PROCESSOR);
        self.decrypt_instances
            .unwrap_or_else(|| default().max(self.workers()))
    }

    /// What the component may do with one message.
    pub(crate) fn message_limits(&self) -> DecryptLimits {
        DecryptLimits {
            plaintext_octets: self.plaintext_max.bytes(),
            compression_layers: self.compression_layers_max,
            compression_ratio: self.compression_ratio_max,
            session_key_packets: self.session_keys_max,
            armor_header_octets: u32::try_from(self.armor_headers_max.bytes()).unwrap_or(u32::MAX),
        }
    }

    /// What the keys of one message may cost.
    pub(crate) fn key_limits(&self) -> KdfLimits {
        KdfLimits {
            s2k_bytes: self.s2k_octets_max.bytes(),
            argon2_memory_kib: self.argon2_memory_max.bytes() / 1024,
            argon2_passes: self.argon2_passes_max.into(),
        }
    }

    pub(crate) fn contradictions(&self) -> Vec<String> {
        let (instances, workers) = (self.instances(), self.workers());
        let too_few = (instances < workers).then(|| {
            format!(
                "{} is {instances}, less than {}, {workers}: as many would never compute at the same time",
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
                ("kdf-queue-max", format!("{}B", keys.octets_max)),
            ],
            ..Inspection::default()
        }
    }
}
