//! The host's interface to decrypt components.

use crate::World;
use crate::admission::{GuestComponent, KnownAnswerError};
use crate::bindings::exports::bulkhead::decrypt::decryptor;
use crate::fault::Fault;
use crate::instance::{Budget, KdfCharge, KdfOffload};
use crate::linked::Linked;
use crate::rejection::Rejection;
use bulkhead_crypto::KdfLimits;
use bulkhead_envelope::{MessageRejection, Wiped};
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
    /// Charges the caller with key derivation. With `None`, key derivation is not charged.
    pub kdf_charge: Option<KdfCharge>,
}

/// A decrypted message.
pub struct Opened {
    /// The plaintext.
    pub plaintext: Wiped,
    /// Whether the plaintext is itself an encrypted OpenPGP message in binary form.
    pub is_openpgp: bool,
}

/// A message was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The component rejects the message.
    #[error(transparent)]
    Rejected(#[from] MessageRejection),
    /// The instance ended without a result.
    #[error(transparent)]
    Fault(#[from] Fault),
}

bulkhead_envelope::wit_conversions!(decryptor);

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
            kdf_charge,
        } = request;
        let copied = message.len() + usize::try_from(limits.plaintext_bytes).unwrap_or(0);
        let budget = Budget {
            kdf: kdf_limits,
            kdf_offload,
            kdf_charge,
            cancel,
            ..self.linked.budget()
        };
        let opened = self.linked.call(budget, copied, |store, instance| {
            let decryptor = self.decryptor.load(&mut *store, instance)?;
            decryptor.call_open(store, message, passphrase, limits)
        })?;
        let opened = opened.map_err(MessageRejection::from)?;
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
                kdf_charge: None,
            })
        };
        match open(SAMPLE, b"topsecret") {
            Ok(opened) if *opened.plaintext == *b"Nice work!\n" => {}
            other => return wrong("the sample", other),
        }
        match open(SAMPLE, b"wrong") {
            Err(OpenError::Rejected(MessageRejection::Undecryptable)) => {}
            other => return wrong("a wrong passphrase", other),
        }
        match open(b"no message at all", b"topsecret") {
            Err(OpenError::Rejected(MessageRejection::NotOpenpgp(_))) => Ok(()),
            other => wrong("text that is not a message", other),
        }
    }
}
