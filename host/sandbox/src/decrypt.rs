//! The decrypt component, as the host calls it.

use crate::about::Description;
use crate::engine::Sandbox;
use crate::instance::{self, Budget, Fault, InstanceLimits, Interrupt, KdfLimits, State};
use crate::load::Loaded;
use crate::metrics::ComponentMetrics;
use crate::wasi;
use wasmtime::component::{HasSelf, Linker};
use zeroize::Zeroizing;

pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit/component", "../../wit/crypto", "../../wit/decrypt"],
        world: "bulkhead:decrypt/decrypt",
        imports: { default: trappable },
    });
}

use bindings::exports::bulkhead::decrypt::decryptor;

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

/// A limit that a message ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract in wit/ documents them")]
pub enum Limit {
    PlaintextOctets,
    CompressionLayers,
    CompressionRatio,
    SessionKeyPackets,
    ArmorHeaderOctets,
    S2kOctets,
    Argon2MemoryKib,
    Argon2Passes,
}

/// Which limit, what was asked for, and what is allowed, in the limit's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct Excess {
    pub limit: Limit,
    pub asked: u64,
    pub allowed: u64,
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

/// The decrypt component, linked and ready to be instantiated.
pub struct Decryptor {
    sandbox: Sandbox,
    instances: bindings::DecryptPre<State>,
    limits: InstanceLimits,
    metrics: ComponentMetrics,
}

impl Decryptor {
    /// Links a component. Fails if it imports what its world does not allow, or does not export
    /// what its world demands; the text names it.
    pub fn new(
        sandbox: &Sandbox,
        loaded: &Loaded,
        limits: InstanceLimits,
        metrics: ComponentMetrics,
    ) -> Result<Self, String> {
        let link = || {
            let mut linker = Linker::new(&sandbox.engine);
            wasi::add_inert(&mut linker)?;
            bindings::Decrypt::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
            bindings::DecryptPre::new(linker.instantiate_pre(&loaded.component)?)
        };
        Ok(Self {
            sandbox: sandbox.clone(),
            instances: link().map_err(|error| format!("{error:#}"))?,
            limits,
            metrics,
        })
    }

    /// Opens `message` in a fresh instance. Blocks for as long as that takes, which is bounded by
    /// the limit on time.
    pub fn open(
        &self,
        message: &[u8],
        passphrase: &str,
        limits: &DecryptLimits,
        kdf_limits: KdfLimits,
        interrupt: Interrupt,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let limits = decryptor::Limits {
            plaintext_octets: limits.plaintext_octets,
            compression_layers: limits.compression_layers,
            compression_ratio: limits.compression_ratio,
            session_key_packets: limits.session_key_packets,
            armor_header_octets: limits.armor_header_octets,
        };
        let copied = message.len() + usize::try_from(limits.plaintext_octets).unwrap_or(0);
        self.call(kdf_limits, interrupt, copied, |store, instance| {
            instance
                .bulkhead_decrypt_decryptor()
                .call_open(store, message, passphrase, limits)
        })
        .map_err(OpenError::Fault)?
        .map(Zeroizing::new)
        .map_err(OpenError::from)
    }

    /// What the component says of itself.
    pub fn describe(&self) -> Result<Description, Fault> {
        let description = self.call(
            KdfLimits::NONE,
            Interrupt::default(),
            0,
            |store, instance| instance.bulkhead_component_about().call_describe(store),
        )?;
        Ok(Description {
            name: description.name,
            version: description.version,
            summary: description.summary,
        })
    }

    /// Runs the component's own known answers. The inner error is what it reports.
    pub fn self_test(&self, kdf_limits: KdfLimits) -> Result<Result<(), String>, Fault> {
        self.call(kdf_limits, Interrupt::default(), 0, |store, instance| {
            instance.bulkhead_component_about().call_self_test(store)
        })
    }

    fn call<R>(
        &self,
        kdf: KdfLimits,
        interrupt: Interrupt,
        copied_octets: usize,
        call: impl FnOnce(&mut wasmtime::Store<State>, &bindings::Decrypt) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        let budget = Budget {
            limits: self.limits,
            kdf,
            interrupt,
        };
        instance::run(
            &self.sandbox,
            &self.metrics,
            budget,
            copied_octets,
            |store| self.instances.instantiate(store),
            call,
        )
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
