//! The host's interface to signing components, which decide for the signing relay.

use crate::World;
use crate::admission::{GuestComponent, KnownAnswerError};
use crate::fault::Fault;
use crate::instance::State;
use crate::linked::Linked;
use crate::rejection::Rejection;
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

// Plain data. `wit/signing` documents it.
pub use bindings::exports::bulkhead::signing::exchange::{
    Failure, Reply, Response, Situation, Wait,
};
pub use bindings::exports::bulkhead::signing::upstream::{
    Checking, Operation, SignedMessage, Signing,
};
pub use bindings::exports::bulkhead::signing::webhook::{Delivering, Delivery, Event};

/// A signing component that is linked and can be called.
///
/// Each call runs in a fresh instance and blocks until the instance ends, at most for the time limit of the
/// component (`InstanceLimits::time`). The methods keep no state: the same arguments may be passed again, and
/// several threads may call at the same time, as many as there are instances in the pool.
///
/// Each method fails with [`Fault::Deadline`] when the time limit is reached, with [`Fault::Memory`] when the instance
/// needs more than its memory limit, and with [`Fault::Trap`] when it traps, breaks its contract, or returns
/// more data than its arguments allow.
pub struct SigningComponent {
    linked: Linked,
    // The interfaces are separate, so that a call looks up only the functions of the interface that it needs.
    upstream: upstream::GuestIndices,
    verifier: verifier::GuestIndices,
    webhook: webhook::GuestIndices,
}

impl SigningComponent {
    /// Returns the path and query (RFC 9112 section 3.2.1) of a request to the upstream. The caller must check it,
    /// because the component may return any text.
    ///
    /// # Errors
    /// [`Fault`] if the instance ends without a result.
    pub fn target(&self, operation: &Operation) -> Result<String, Fault> {
        let bytes = match operation {
            Operation::Sign(message) => message.len(),
            Operation::Verify(signed) => signed.message.len() + signed.signature.len(),
            Operation::CheckKey => 0,
        };
        // Percent-encoding writes up to three bytes for each byte.
        self.call(3 * bytes, |store, instance| {
            let upstream = self.upstream.load(&mut *store, instance)?;
            upstream.call_target(store, operation)
        })
    }

    /// Returns the decision after the upstream's response to a request for a signature. With a `public_key` in PEM,
    /// the component should return a signature only if it verifies. `pace_ms` is the time in which the quota
    /// allows one call, in milliseconds. The caller must limit the delay that the component requests.
    ///
    /// # Errors
    /// [`Fault`] if the instance ends without a result.
    pub fn read_signature(
        &self,
        reply: &Reply,
        message: &str,
        public_key: Option<&str>,
        situation: Situation,
        pace_ms: u64,
    ) -> Result<Signing, Fault> {
        self.call(body_len(reply), |store, instance| {
            let upstream = self.upstream.load(&mut *store, instance)?;
            upstream.call_read_signature(store, reply, message, public_key, situation, pace_ms)
        })
    }

    /// Returns the decision after the upstream's response to a request for a verification.
    ///
    /// # Errors
    /// [`Fault`] if the instance ends without a result.
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

    /// Returns the decision after the upstream's response to a check of the API key.
    ///
    /// # Errors
    /// [`Fault`] if the instance ends without a result.
    pub fn read_key_check(&self, reply: &Reply, situation: Situation) -> Result<Checking, Fault> {
        self.call(0, |store, instance| {
            let upstream = self.upstream.load(&mut *store, instance)?;
            upstream.call_read_key_check(store, reply, situation)
        })
    }

    /// Returns whether the signature is that of the message under an RSA public key in PEM: PKCS#1 v1.5 or PSS
    /// (RFC 8017 section 8).
    ///
    /// # Errors
    /// [`VerifyError`] if the key is not valid, or if the instance ends without a result.
    pub fn verify(&self, signed: &SignedMessage, public_key: &str) -> Result<bool, VerifyError> {
        let verified = self.call(0, |store, instance| {
            let verifier = self.verifier.load(&mut *store, instance)?;
            verifier.call_verify(store, signed, public_key)
        })?;
        verified.map_err(VerifyError::Key)
    }

    /// Returns the webhook (Standard Webhooks 1.0) that notifies a receiver of an event. It is signed if there is a
    /// `secret`, which is the decoded key. `id` is the same for all attempts. `now_ms` is the time of the signature, in
    /// Unix milliseconds.
    ///
    /// # Errors
    /// [`Fault`] if the instance ends without a result.
    pub fn webhook(
        &self,
        id: &str,
        event: &Event,
        secret: Option<&[u8]>,
        now_ms: u64,
    ) -> Result<Delivery, Fault> {
        let outcome = event.outcome.as_ref().map_or_else(String::len, String::len);
        // JSON writes up to six bytes for each byte.
        let bytes = 6 * (event.message.len() + outcome);
        self.call(bytes, |store, instance| {
            let webhook = self.webhook.load(&mut *store, instance)?;
            webhook.call_build(store, id, event, secret, now_ms)
        })
    }

    /// Returns the decision after a receiver's response to a webhook.
    ///
    /// # Errors
    /// [`Fault`] if the instance ends without a result.
    pub fn read_webhook(&self, reply: &Reply, situation: Situation) -> Result<Delivering, Fault> {
        self.call(0, |store, instance| {
            let webhook = self.webhook.load(&mut *store, instance)?;
            webhook.call_read(store, reply, situation)
        })
    }

    fn call<R>(
        &self,
        result_bytes: usize,
        call: impl FnOnce(&mut Store<State>, &Instance) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        self.linked.call(self.linked.budget(), result_bytes, call)
    }
}

impl GuestComponent for SigningComponent {
    const WORLD: World = World::Signing;

    fn from_linked(linked: Linked) -> Result<Self, Rejection> {
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

/// A signature was not verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The public key is not valid. The text comes from the component.
    #[error("the public key is not valid: {0}")]
    Key(String),
    /// The instance ended without a result.
    #[error("the signing component ended without a result")]
    Fault(#[from] Fault),
}

/// The length of the response's body, in bytes.
fn body_len(reply: &Reply) -> usize {
    match reply {
        Reply::Complete(response) => response.body.len(),
        Reply::Failed(_) => 0,
    }
}
