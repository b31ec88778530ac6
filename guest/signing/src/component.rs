//! The exports of the component.

use crate::bindings::exports::bulkhead::component::about;
use crate::bindings::exports::bulkhead::signing::exchange::{Reply, Situation};
use crate::bindings::exports::bulkhead::signing::upstream::{
    self, Checking, Operation, SignedMessage, Signing,
};
use crate::bindings::exports::bulkhead::signing::{verifier, webhook};

struct Component;

#[expect(
    unsafe_code,
    reason = "exported functions have fixed names, which Rust calls unsafe"
)]
mod exports {
    crate::bindings::export!(Component with_types_in crate::bindings);
    use super::Component;
}

impl upstream::Guest for Component {
    fn target(operation: Operation) -> String {
        crate::upstream::target(&operation)
    }

    fn read_signature(
        reply: Reply,
        message: String,
        public_key: Option<String>,
        situation: Situation,
        pace_ms: u64,
    ) -> Signing {
        let public_key = public_key.as_deref();
        crate::upstream::read_signature(reply, &message, public_key, &situation, pace_ms)
    }

    fn read_verification(reply: Reply, situation: Situation) -> Checking {
        crate::upstream::read_verification(reply, &situation)
    }

    fn read_key_check(reply: Reply, situation: Situation) -> Checking {
        crate::upstream::read_key_check(reply, &situation)
    }
}

impl verifier::Guest for Component {
    fn verify(signed: SignedMessage, public_key: String) -> Result<bool, String> {
        crate::verifier::verify(&signed, &public_key).map_err(|error| error.to_string())
    }
}

impl webhook::Guest for Component {
    fn build(
        id: String,
        event: webhook::Event,
        secret: Option<Vec<u8>>,
        now_ms: u64,
    ) -> webhook::Delivery {
        crate::webhook::build(&id, &event, secret.as_deref(), now_ms)
    }

    fn read(reply: Reply, situation: Situation) -> webhook::Delivering {
        crate::webhook::read(reply, &situation)
    }
}

impl about::Guest for Component {
    fn describe() -> about::Description {
        about::Description {
            name: "signing".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Interprets the responses of a signing API and of webhook receivers".into(),
        }
    }

    fn self_test() -> Result<(), String> {
        const KEY: &str = include_str!("verifier/public-key.pem");
        const SIGNATURES: &str = include_str!("verifier/signatures.txt");
        let signature = SIGNATURES
            .split_ascii_whitespace()
            .nth(1)
            .unwrap_or_default();
        for (message, expected) in [("what do ya want for nothing?", true), ("another", false)] {
            let signed = SignedMessage {
                message: message.to_owned(),
                signature: signature.to_owned(),
            };
            if crate::verifier::verify(&signed, KEY) != Ok(expected) {
                return Err("a known signature is verified incorrectly".into());
            }
        }
        // Computed by Python's hmac over "what do ya want for nothing?..".
        let signed = crate::webhook::sign("what do ya want for nothing?", "", b"", b"Jefe");
        if signed != "v1,TTx/yw9qfBSN25wZIMpKWkGacebIHaPSfFKOtt2gym8=" {
            return Err("a known webhook signature is computed incorrectly".into());
        }
        Ok(())
    }
}
