//! The signing component in its sandbox.

use super::{TIME, sandbox, within};
use bulkhead_artifacts::SIGNING;
use bulkhead_sandbox::{
    ComponentMetrics, Delivering, Event, Failure, GuestComponent as _, Operation, Reply, Response,
    SignedMessage, Signing, SigningComponent, Situation, VerifyError,
};
use standardwebhooks::Webhook;
use std::sync::LazyLock;

static COMPONENT: LazyLock<SigningComponent> = LazyLock::new(|| {
    let sandbox = sandbox();
    let loaded = sandbox
        .load(SIGNING.wasm, Some(SIGNING.precompiled))
        .expect("component should be loaded");
    let metrics = ComponentMetrics::unregistered();
    SigningComponent::new(&sandbox, &loaded, within(TIME), metrics).expect("component should link")
});

const PUBLIC_KEY: &str = include_str!("../../../../guest/signing/src/verifier/public-key.pem");
const SIGNATURES: &str = include_str!("../../../../guest/signing/src/verifier/signatures.txt");
const MESSAGE: &str = "what do ya want for nothing?";

const SITUATION: Situation = Situation {
    attempts: 1,
    age_ms: 0,
    now_ms: 1_700_000_000_000,
    random: 0,
};

fn signature() -> String {
    let first = SIGNATURES.split_ascii_whitespace().nth(1);
    first.expect("file should contain a signature").to_owned()
}

fn complete(status: u16, body: &str) -> Reply {
    Reply::Complete(Response {
        status,
        retry_after: None,
        body: body.into(),
    })
}

#[test]
fn component_passes_its_self_test() {
    let description = COMPONENT
        .describe()
        .expect("component should describe itself");
    assert_eq!(description.name, "signing");
    assert_eq!(COMPONENT.self_test(), Ok(()));
}

#[test]
fn largest_messages_are_passed_in_both_directions() {
    let message = "ü".repeat(4 << 20);
    let target = COMPONENT.target(&Operation::Sign(message.clone()));
    assert_eq!(
        target.expect("target should be returned").len(),
        "/crypto/sign?message=".len() + 3 * message.len()
    );
    let event = Event {
        request: "request".into(),
        message: "\u{1}".repeat(4 << 20),
        outcome: Ok(signature()),
        since_ms: 0,
    };
    let delivery = COMPONENT
        .webhook("id", &event, None, 0)
        .expect("webhook should be returned");
    let body: serde_json::Value =
        serde_json::from_slice(&delivery.body).expect("body should be JSON");
    assert_eq!(body["data"]["message"], event.message);
}

#[test]
fn signature_is_rejected_if_it_does_not_verify_with_the_public_key() {
    let read = |message, key| {
        let reply = complete(200, &signature());
        let read = COMPONENT.read_signature(&reply, message, key, SITUATION, 6000);
        read.expect("decision should be returned")
    };
    assert_eq!(
        read(MESSAGE, Some(PUBLIC_KEY)),
        Signing::Signed(signature())
    );
    assert!(matches!(
        read("another", Some(PUBLIC_KEY)),
        Signing::Retry(_)
    ));
    assert_eq!(read("another", None), Signing::Signed(signature()));
    let signed = SignedMessage {
        message: MESSAGE.into(),
        signature: signature(),
    };
    assert_eq!(COMPONENT.verify(&signed, PUBLIC_KEY), Ok(true));
    assert!(matches!(
        COMPONENT.verify(&signed, "not a key"),
        Err(VerifyError::Key(_))
    ));
}

/// The library shares no code with this project.
#[test]
fn webhooks_verify_with_the_standard_library() {
    let secret = b"0123456789abcdef0123456789abcdef";
    let standard = Webhook::from_bytes(secret.to_vec()).expect("secret should be valid");
    let wrong = Webhook::from_bytes(b"another".to_vec()).expect("secret should be valid");
    let now_ms = std::time::UNIX_EPOCH
        .elapsed()
        .expect("clock should be after 1970")
        .as_millis();
    let now_ms = u64::try_from(now_ms).expect("time should fit in 64 bits");
    for outcome in [Ok(signature()), Err("refused".to_owned())] {
        let event = Event {
            request: "0123".into(),
            message: "\"Grüße\"\n".into(),
            outcome,
            since_ms: 1_700_000_000_123,
        };
        let delivery = COMPONENT
            .webhook("msg_1", &event, Some(&secret[..]), now_ms)
            .expect("webhook should be returned");
        let headers = delivery
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<http::HeaderName>()
                        .expect("name should be valid"),
                    value.parse().expect("value should be valid"),
                )
            })
            .collect::<http::HeaderMap>();
        let verified = standard.verify(&delivery.body, &headers);
        assert!(verified.is_ok(), "{verified:?}");
        let forged = wrong.verify(&delivery.body, &headers);
        assert!(forged.is_err());
        let altered = [&delivery.body[..], b" "].concat();
        assert!(standard.verify(&altered, &headers).is_err());
    }
}

#[test]
fn response_of_the_receiver_decides_about_the_next_attempt() {
    let read = |reply| {
        COMPONENT
            .read_webhook(&reply, SITUATION)
            .expect("decision should be returned")
    };
    assert_eq!(read(complete(204, "")), Delivering::Delivered);
    assert!(matches!(read(complete(410, "")), Delivering::Parked(_)));
    let failed = Reply::Failed(Failure::TimedOut);
    assert!(matches!(read(failed), Delivering::Retry(wait) if wait.after_ms == 1000));
}
