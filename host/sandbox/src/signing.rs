//! The signing component, as the host calls it: the relay's judgement.

use crate::admission::{GuestComponent, KnownAnswerError};
use crate::fault::Fault;
use crate::instance::State;
use crate::linked::Linked;
use crate::refusal::Refusal;
use crate::world::World;
use wasmtime::Store;
use wasmtime::component::Instance;

mod known_answers;

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit/component", "../../wit/signing"],
        world: "bulkhead:signing/signing",
        additional_derives: [PartialEq, Eq],
    });
}

use bindings::exports::bulkhead::signing::{upstream, verifier, webhook};

// Plain data, as `wit/signing` describes it.
pub use bindings::exports::bulkhead::signing::exchange::{Answer, Failure, Reply, Situation, Wait};
pub use bindings::exports::bulkhead::signing::upstream::{Checking, Claim, Question, Signing};
pub use bindings::exports::bulkhead::signing::webhook::{Delivering, Delivery, Event};

/// The signing component, linked and ready to be instantiated. Each call runs in a fresh instance,
/// and blocks until it is over.
pub struct SigningComponent {
    linked: Linked,
    /// Interface by interface, since each call looks up no more than it needs.
    upstream: upstream::GuestIndices,
    verifier: verifier::GuestIndices,
    webhook: webhook::GuestIndices,
}

impl SigningComponent {
    /// Path and query of a question to the upstream.
    ///
    /// # Errors
    /// If the instance ends without an answer.
    pub fn target(&self, question: &Question) -> Result<String, Fault> {
        let octets = match question {
            Question::Sign(message) => message.len(),
            Question::Verify(claim) => claim.message.len() + claim.signature.len(),
            Question::CheckKey => 0,
        };
        // Percent-encoding takes three octets for one.
        self.call(3 * octets, |store, instance| {
            let upstream = self.upstream.load(&mut *store, instance)?;
            upstream.call_target(store, question)
        })
    }

    /// What an answer to the question for a signature means. `pace_ms` is the time in which the
    /// quota allows one call.
    ///
    /// # Errors
    /// If the instance ends without an answer.
    pub fn read_signature(
        &self,
        reply: &Reply,
        message: &str,
        public_key: Option<&str>,
        situation: Situation,
        pace_ms: u64,
    ) -> Result<Signing, Fault> {
        self.call(octets(reply), |store, instance| {
            let upstream = self.upstream.load(&mut *store, instance)?;
            upstream.call_read_signature(store, reply, message, public_key, situation, pace_ms)
        })
    }

    /// What an answer to the question for a verification means.
    ///
    /// # Errors
    /// If the instance ends without an answer.
    pub fn read_verification(
        &self,
        reply: &Reply,
        situation: Situation,
    ) -> Result<Checking, Fault> {
        self.call(0, |store, instance| {
            let upstream = self.upstream.load(&mut *store, instance)?;
            upstream.call_read_verification(store, reply, situation)
        })
    }

    /// What an answer to the question whether the key is good means.
    ///
    /// # Errors
    /// If the instance ends without an answer.
    pub fn read_key_check(&self, reply: &Reply, situation: Situation) -> Result<Checking, Fault> {
        self.call(0, |store, instance| {
            let upstream = self.upstream.load(&mut *store, instance)?;
            upstream.call_read_key_check(store, reply, situation)
        })
    }

    /// Whether a signature belongs to a message under an RSA public key in PEM.
    ///
    /// # Errors
    /// If the key is not valid, or if the instance ends without an answer.
    pub fn verify(&self, claim: &Claim, public_key: &str) -> Result<bool, VerifyError> {
        let verified = self.call(0, |store, instance| {
            let verifier = self.verifier.load(&mut *store, instance)?;
            verifier.call_verify(store, claim, public_key)
        })?;
        verified.map_err(VerifyError::Key)
    }

    /// The request that tells a receiver of an event; signed where there is a secret.
    ///
    /// # Errors
    /// If the instance ends without an answer.
    pub fn webhook(
        &self,
        id: &str,
        event: &Event,
        secret: Option<&[u8]>,
        now_ms: u64,
    ) -> Result<Delivery, Fault> {
        let outcome = event.outcome.as_ref().map_or_else(String::len, String::len);
        // JSON takes six octets for some.
        let octets = 6 * (event.message.len() + outcome);
        self.call(octets, |store, instance| {
            let webhook = self.webhook.load(&mut *store, instance)?;
            webhook.call_build(store, id, event, secret, now_ms)
        })
    }

    /// What a receiver's answer means.
    ///
    /// # Errors
    /// If the instance ends without an answer.
    pub fn read_webhook(&self, reply: &Reply, situation: Situation) -> Result<Delivering, Fault> {
        self.call(0, |store, instance| {
            let webhook = self.webhook.load(&mut *store, instance)?;
            webhook.call_read(store, reply, situation)
        })
    }

    fn call<R>(
        &self,
        answer_octets: usize,
        call: impl FnOnce(&mut Store<State>, &Instance) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        self.linked.call(self.linked.budget(), answer_octets, call)
    }
}

impl GuestComponent for SigningComponent {
    const WORLD: World = World::Signing;

    fn from_linked(linked: Linked) -> Result<Self, Refusal> {
        Ok(Self {
            upstream: linked.find(upstream::GuestIndices::new)?,
            verifier: linked.find(verifier::GuestIndices::new)?,
            webhook: linked.find(webhook::GuestIndices::new)?,
            linked,
        })
    }

    fn linked(&self) -> &Linked {
        &self.linked
    }

    fn known_answers(&self) -> Result<(), KnownAnswerError> {
        known_answers::check(self)
    }
}

/// Why a signature was not verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The public key is not valid. The component says why.
    #[error("the public key is not valid: {0}")]
    Key(String),
    /// The instance ended without an answer.
    #[error("the signing component ended early")]
    Fault(#[from] Fault),
}

fn octets(reply: &Reply) -> usize {
    match reply {
        Reply::Answered(answer) => answer.body.len(),
        Reply::Unanswered(_) => 0,
    }
}
