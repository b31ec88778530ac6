//! The host's interface to decrypt components.

use crate::admission::{GuestComponent, KnownAnswerError};
use crate::bindings::exports::bulkhead::decrypt::decryptor;
use crate::fault::Fault;
use crate::instance::{Budget, KdfOffload};
use crate::linked::Linked;
use crate::rejection::Rejection;
use crate::world::World;
use bulkhead_crypto::KdfLimits;
use bulkhead_envelope::{Evidence, Excess, Limit, Wiped};
use bulkhead_kdf::CancelFlag;

pub use decryptor::Limits as DecryptLimits;

/// A message to be opened.
pub struct OpenRequest<'a> {
    /// The message, as text.
    pub message: &'a [u8],
    /// The bytes of the passphrase.
    pub passphrase: &'a [u8],
    /// The limits that the component enforces.
    pub limits: DecryptLimits,
    /// The limits on key derivation, which the host enforces.
    pub kdf_limits: KdfLimits,
    /// Ends the instance early if it is set.
    pub cancel: CancelFlag,
    /// The threads that derive keys. With `None`, the calling thread derives them.
    pub kdf_offload: Option<KdfOffload>,
}

/// A decrypted message.
pub struct Opened {
    /// The plaintext.
    pub plaintext: Wiped,
    /// Whether the plaintext is itself an encrypted OpenPGP message in binary form.
    pub is_openpgp: bool,
}

/// A message was not opened. All cases except the last are final: the same message fails again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No OpenPGP message was found. The text is of this kind instead.
    #[error("no OpenPGP message was found: {0:?}")]
    NotOpenpgp(Evidence),
    /// The message was cut off or damaged. The text says where, for the caller.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The message uses something that is not supported. The text names it, for the caller.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// Wrong passphrase or altered message.
    #[error("wrong passphrase or altered message")]
    Undecryptable,
    /// The message needs more than a limit allows.
    #[error("the message exceeds a limit: {0:?}")]
    TooCostly(Excess),
    /// The instance ended without a result.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The limits during the known answers. They do not depend on the settings.
const KNOWN_ANSWERS: DecryptLimits = DecryptLimits {
    plaintext_bytes: 1024,
    compression_layers: 4,
    compression_ratio: 1024,
    session_key_packets: 1,
    armor_header_bytes: 1024,
};

/// Made by gpg with the passphrase `topsecret`.
const SAMPLE: &[u8] = include_bytes!("../../../guest/decrypt/src/sample.asc");

/// A decrypt component that is linked and can be called.
pub struct Decryptor {
    linked: Linked,
    decryptor: decryptor::GuestIndices,
}

impl Decryptor {
    /// Opens a message in a fresh instance, and returns its plaintext. Blocks until the instance ends, at
    /// most for its time limit.
    ///
    /// # Errors
    /// [`OpenError`] if the component rejects the message, or if the instance ends without a result.
    pub fn open(&self, request: OpenRequest<'_>) -> Result<Opened, OpenError> {
        let OpenRequest {
            message,
            passphrase,
            limits,
            kdf_limits,
            cancel,
            kdf_offload,
        } = request;
        let copied = message.len() + usize::try_from(limits.plaintext_bytes).unwrap_or(0);
        let budget = Budget {
            kdf: kdf_limits,
            kdf_offload,
            cancel,
            ..self.linked.budget()
        };
        let opened = self.linked.call(budget, copied, |store, instance| {
            let decryptor = self.decryptor.load(&mut *store, instance)?;
            decryptor.call_open(store, message, passphrase, limits)
        })?;
        let opened = opened?;
        Ok(Opened {
            plaintext: Wiped::from(opened.plaintext),
            is_openpgp: opened.is_openpgp,
        })
    }
}

impl GuestComponent for Decryptor {
    const WORLD: World = World::Decrypt;
    const SELF_TEST_KDF: KdfLimits = KdfLimits {
        s2k_bytes: 256 << 20,
        ..KdfLimits::ZERO
    };

    fn from_linked(linked: Linked) -> Result<Self, Rejection> {
        Ok(Self {
            decryptor: linked.find(decryptor::GuestIndices::new)?,
            linked,
        })
    }

    fn linked(&self) -> &Linked {
        &self.linked
    }

    fn known_answers(&self) -> Result<(), KnownAnswerError> {
        let wrong = |input: &str, outcome: Result<Opened, OpenError>| {
            let outcome = outcome.map_or_else(
                |error| error.to_string(),
                |_| "an unexpected plaintext".into(),
            );
            Err(KnownAnswerError::Wrong(format!(
                "{input} results in: {outcome}"
            )))
        };
        let open = |message, passphrase: &[u8]| {
            self.open(OpenRequest {
                message,
                passphrase,
                limits: KNOWN_ANSWERS,
                kdf_limits: Self::SELF_TEST_KDF,
                cancel: CancelFlag::default(),
                kdf_offload: None,
            })
        };
        match open(SAMPLE, b"topsecret") {
            Ok(opened) if *opened.plaintext == *b"Nice work!\n" => {}
            other => return wrong("the sample", other),
        }
        match open(SAMPLE, b"wrong") {
            Err(OpenError::Undecryptable) => {}
            other => return wrong("a wrong passphrase", other),
        }
        match open(b"no message at all", b"topsecret") {
            Err(OpenError::NotOpenpgp(_)) => Ok(()),
            other => wrong("text that is not a message", other),
        }
    }
}

impl From<decryptor::Rejection> for OpenError {
    fn from(rejection: decryptor::Rejection) -> Self {
        match rejection {
            decryptor::Rejection::NotOpenpgp(evidence) => Self::NotOpenpgp(match evidence {
                decryptor::Evidence::Nothing => Evidence::Nothing,
                decryptor::Evidence::Binary => Evidence::Binary,
                decryptor::Evidence::Pem => Evidence::Pem,
                decryptor::Evidence::Signature => Evidence::Signature,
                decryptor::Evidence::Key => Evidence::Key,
            }),
            decryptor::Rejection::Damaged(place) => Self::Damaged(place),
            decryptor::Rejection::Unsupported(reason) => Self::Unsupported(reason),
            decryptor::Rejection::Undecryptable => Self::Undecryptable,
            decryptor::Rejection::TooCostly(excess) => Self::TooCostly(Excess {
                limit: match excess.limit {
                    decryptor::Limit::PlaintextBytes => Limit::PlaintextBytes,
                    decryptor::Limit::CompressionLayers => Limit::CompressionLayers,
                    decryptor::Limit::CompressionRatio => Limit::CompressionRatio,
                    decryptor::Limit::SessionKeyPackets => Limit::SessionKeyPackets,
                    decryptor::Limit::ArmorHeaderBytes => Limit::ArmorHeaderBytes,
                    decryptor::Limit::S2kBytes => Limit::S2kBytes,
                    decryptor::Limit::Argon2MemoryKib => Limit::Argon2MemoryKib,
                    decryptor::Limit::Argon2Passes => Limit::Argon2Passes,
                },
                requested: excess.requested,
                allowed: excess.allowed,
            }),
        }
    }
}
