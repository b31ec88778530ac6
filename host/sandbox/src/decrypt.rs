//! The decrypt component, as the host calls it.

use crate::about::Description;
use crate::admission::Ready;
use crate::bindings::exports::bulkhead::decrypt::decryptor;
use crate::crypto;
use crate::engine::Sandbox;
use crate::fault::Fault;
use crate::instance::{Budget, InstanceLimits, KdfOffload};
use crate::linked::Linked;
use crate::load::Loaded;
use crate::metrics::ComponentMetrics;
use crate::refusal::Refusal;
use crate::world::World;
use bulkhead_crypto::KdfLimits;
use bulkhead_envelope::{Excess, Limit, Wiped};
use bulkhead_kdf::CancelFlag;

/// What one message may cost inside the component; see `wit/decrypt` for each.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the contract in wit/ documents them")]
pub struct DecryptLimits {
    pub plaintext_octets: u64,
    pub compression_layers: u32,
    pub compression_ratio: u32,
    pub session_key_packets: u32,
    pub armor_header_octets: u32,
}

/// Why a message was not opened. The first four are the message's fault and final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// No OpenPGP message was found.
    NotOpenpgp,
    /// Understood and refused; the text says why, for the caller.
    Unsupported(String),
    /// Wrong passphrase or altered message.
    Undecryptable,
    /// Over a limit.
    TooCostly(Excess),
    /// The instance ended without an answer.
    Fault(Fault),
}

/// What the host's known answers take, whatever is set up otherwise.
const KNOWN_ANSWERS: DecryptLimits = DecryptLimits {
    plaintext_octets: 1024,
    compression_layers: 4,
    compression_ratio: 1024,
    session_key_packets: 1,
    armor_header_octets: 1024,
};
const KNOWN_ANSWERS_KDF: KdfLimits = KdfLimits {
    s2k_octets: 256 << 20,
    argon2_memory_kib: 0,
    argon2_passes: 0,
};

/// Made by gpg with the passphrase `topsecret`.
const SAMPLE: &[u8] = include_bytes!("../../../guest/decrypt/src/sample.asc");

/// The decrypt component, linked and ready to be instantiated.
pub struct Decryptor {
    linked: Linked,
    decryptor: decryptor::GuestIndices,
}

impl Decryptor {
    /// Links a component. Refused if it imports what its world does not allow, or does not export
    /// what its world demands; the text names it.
    pub fn new(
        sandbox: &Sandbox,
        loaded: &Loaded,
        limits: InstanceLimits,
        metrics: ComponentMetrics,
    ) -> Result<Self, Refusal> {
        let linked = Linked::new(&Self::WORLD.contract(), sandbox, loaded, limits, metrics, |linker| {
            crypto::link(linker)
        })?;
        Ok(Self {
            decryptor: linked.find(decryptor::GuestIndices::new)?,
            linked,
        })
    }

    /// Opens `message` in a fresh instance. Blocks for as long as that takes, which is bounded by
    /// the limit on time. Keys are derived by the engine of `kdf_offload`, or else by the calling thread.
    pub fn open(
        &self,
        message: &[u8],
        passphrase: &str,
        limits: &DecryptLimits,
        kdf_limits: KdfLimits,
        cancel: CancelFlag,
        kdf_offload: Option<KdfOffload>,
    ) -> Result<Wiped, OpenError> {
        let limits = decryptor::Limits {
            plaintext_octets: limits.plaintext_octets,
            compression_layers: limits.compression_layers,
            compression_ratio: limits.compression_ratio,
            session_key_packets: limits.session_key_packets,
            armor_header_octets: limits.armor_header_octets,
        };
        let copied = message.len() + usize::try_from(limits.plaintext_octets).unwrap_or(0);
        let budget = Budget {
            limits: self.linked.limits(),
            kdf: kdf_limits,
            kdf_offload,
            cancel,
        };
        self.linked
            .call(budget, copied, |store, instance| {
                let decryptor = self.decryptor.load(&mut *store, instance)?;
                decryptor.call_open(store, message, passphrase, limits)
            })
            .map_err(OpenError::Fault)?
            .map(Wiped::from)
            .map_err(OpenError::from)
    }
}

impl Ready for Decryptor {
    const WORLD: World = World::Decrypt;

    fn describe(&self) -> Result<Description, Fault> {
        self.linked.describe()
    }

    fn self_test(&self) -> Result<Result<(), String>, Fault> {
        self.linked.self_test(Budget {
            kdf: KNOWN_ANSWERS_KDF,
            ..Budget::of(self.linked.limits())
        })
    }

    fn known_answers(&self) -> Result<(), String> {
        let open = |message: &[u8], passphrase| {
            let cancel = CancelFlag::default();
            self.open(
                message,
                passphrase,
                &KNOWN_ANSWERS,
                KNOWN_ANSWERS_KDF,
                cancel,
                None,
            )
        };
        match open(SAMPLE, "topsecret") {
            Ok(plaintext) if *plaintext == *b"Nice work!\n" => {}
            Ok(_) => return Err("the sample opens to something else".into()),
            Err(error) => return Err(format!("the sample does not open: {error}")),
        }
        match open(SAMPLE, "wrong") {
            Err(OpenError::Undecryptable) => {}
            other => return Err(format!("a wrong passphrase ends with {}", named(&other))),
        }
        match open(b"no message at all", "topsecret") {
            Err(OpenError::NotOpenpgp) => Ok(()),
            other => Err(format!("what is no message ends with {}", named(&other))),
        }
    }
}

fn named(outcome: &Result<Wiped, OpenError>) -> String {
    match outcome {
        Ok(_) => "a plaintext".into(),
        Err(error) => error.to_string(),
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotOpenpgp => f.write_str("no OpenPGP message was found"),
            Self::Unsupported(why) => write!(f, "unsupported: {why}"),
            Self::Undecryptable => f.write_str("wrong passphrase or altered message"),
            Self::TooCostly(excess) => write!(f, "over a limit: {excess:?}"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl From<decryptor::Refusal> for OpenError {
    fn from(refusal: decryptor::Refusal) -> Self {
        match refusal {
            decryptor::Refusal::NotOpenpgp => Self::NotOpenpgp,
            decryptor::Refusal::Unsupported(reason) => Self::Unsupported(reason),
            decryptor::Refusal::Undecryptable => Self::Undecryptable,
            decryptor::Refusal::TooCostly(excess) => Self::TooCostly(Excess {
                limit: match excess.limit {
                    decryptor::Limit::PlaintextOctets => Limit::PlaintextOctets,
                    decryptor::Limit::CompressionLayers => Limit::CompressionLayers,
                    decryptor::Limit::CompressionRatio => Limit::CompressionRatio,
                    decryptor::Limit::SessionKeyPackets => Limit::SessionKeyPackets,
                    decryptor::Limit::ArmorHeaderOctets => Limit::ArmorHeaderOctets,
                    decryptor::Limit::S2kOctets => Limit::S2kOctets,
                    decryptor::Limit::Argon2MemoryKib => Limit::Argon2MemoryKib,
                    decryptor::Limit::Argon2Passes => Limit::Argon2Passes,
                },
                asked: excess.asked,
                allowed: excess.allowed,
            }),
        }
    }
}
