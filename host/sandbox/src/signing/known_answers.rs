//! Known answers of signing components. They cover the decisions whose errors would waste the quota, lose a
//! message or burden a receiver.

use super::{
    Checking, Delivering, Event, Failure, Operation, Reply, Response, SignedMessage, Signing,
    SigningComponent, Situation, VerifyError,
};
use crate::admission::KnownAnswerError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A key and a signature under it, made with openssl (PKCS#1 v1.5, SHA-256).
const PUBLIC_KEY: &str = include_str!("../../../../guest/signing/src/verifier/public-key.pem");
const SIGNATURES: &str = include_str!("../../../../guest/signing/src/verifier/signatures.txt");
const MESSAGE: &str = "what do ya want for nothing?";

const SITUATION: Situation = Situation {
    attempts: 1,
    age_ms: 0,
    now_ms: 1_700_000_000_000,
    random: 1 << 63,
};

pub(super) fn check(component: &SigningComponent) -> Result<(), KnownAnswerError> {
    operations(component)?;
    signatures(component)?;
    checks(component)?;
    verifications(component)?;
    webhooks(component)
}

fn wrong(expectation: impl Into<String>) -> KnownAnswerError {
    KnownAnswerError::Wrong(expectation.into())
}

fn complete(status: u16, retry_after: Option<&str>, body: &[u8]) -> Reply {
    Reply::Complete(Response {
        status,
        retry_after: retry_after.map(Into::into),
        body: body.to_vec(),
    })
}

fn signature() -> String {
    let words = SIGNATURES.split_ascii_whitespace();
    words.skip(1).take(1).collect()
}

fn operations(component: &SigningComponent) -> Result<(), KnownAnswerError> {
    let target = |operation: &Operation| component.target(operation);
    let signed = SignedMessage {
        message: "abc".into(),
        signature: "ZGVm".into(),
    };
    for (operation, expected) in [
        (
            Operation::Sign("abc-123".into()),
            "/crypto/sign?message=abc-123",
        ),
        (
            Operation::Verify(signed),
            "/crypto/verify?message=abc&signature=ZGVm",
        ),
    ] {
        let got = target(&operation)?;
        if got != expected {
            return Err(wrong(format!(
                "a request to the upstream has another target than {expected}"
            )));
        }
    }
    let odd = target(&Operation::Sign("a b&message=c\r\n#%é".into()))?;
    let query = odd.strip_prefix("/crypto/sign?message=").unwrap_or(" ");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"%+-._~".contains(&byte);
    if !query.bytes().all(plain) {
        return Err(wrong("the message in a target is not percent-encoded"));
    }
    Ok(())
}

fn signatures(component: &SigningComponent) -> Result<(), KnownAnswerError> {
    let read = |reply: &Reply, key| component.read_signature(reply, MESSAGE, key, SITUATION, 6000);
    let signature = signature();
    let good = complete(200, None, signature.as_bytes());
    for key in [None, Some(PUBLIC_KEY)] {
        match read(&good, key)? {
            Signing::Signed(signed) if signed == signature => {}
            _ => return Err(wrong("a signature is not returned unchanged")),
        }
    }
    let forged = complete(200, None, STANDARD.encode([7; 256]).as_bytes());
    if !matches!(read(&forged, Some(PUBLIC_KEY))?, Signing::Retry(_)) {
        return Err(wrong(
            "a signature is returned that does not verify with the public key",
        ));
    }
    for reply in [
        complete(200, None, b"Oops."),
        complete(502, None, b"Bad gateway"),
        Reply::Failed(Failure::TimedOut),
        Reply::Failed(Failure::CutOff),
    ] {
        match read(&reply, None)? {
            Signing::Retry(wait) if wait.after_ms <= DAY_MS => {}
            _ => {
                return Err(wrong(
                    "a message is not attempted again after a temporary failure",
                ));
            }
        }
    }
    match read(&complete(429, Some("30"), b""), None)? {
        Signing::Slowed(wait) if (30_000..=DAY_MS).contains(&wait.after_ms) => {}
        _ => {
            return Err(wrong("the Retry-After of a 429 response is not respected"));
        }
    }
    match read(&complete(401, None, b""), None)? {
        Signing::Paused(wait) if wait.after_ms <= DAY_MS => Ok(()),
        _ => Err(wrong(
            "calls are not paused after the upstream rejects the API key",
        )),
    }
}

fn checks(component: &SigningComponent) -> Result<(), KnownAnswerError> {
    let failed = complete(502, None, b"Bad gateway");
    let verification = component.read_verification(&failed, SITUATION);
    let key_check = component.read_key_check(&failed, SITUATION);
    for checking in [verification, key_check] {
        match checking? {
            Checking::Unknown(_) => {}
            _ => return Err(wrong("the result of a failed check is not `unknown`")),
        }
    }
    Ok(())
}

fn verifications(component: &SigningComponent) -> Result<(), KnownAnswerError> {
    for (message, expected) in [(MESSAGE, true), ("another", false)] {
        let signed = SignedMessage {
            message: message.into(),
            signature: signature(),
        };
        match component.verify(&signed, PUBLIC_KEY) {
            Ok(verified) if verified == expected => {}
            Err(VerifyError::Fault(fault)) => return Err(fault.into()),
            Ok(_) | Err(VerifyError::Key(_)) => {
                return Err(wrong("a known RSA signature is not verified correctly"));
            }
        }
    }
    Ok(())
}

/// Standard Webhooks 1.0.
fn webhooks(component: &SigningComponent) -> Result<(), KnownAnswerError> {
    const SECRET: &[u8] = b"a secret for known answers only!";
    let event = Event {
        request: "a request".into(),
        message: "a \"message\"".into(),
        outcome: Ok("c2lnbmVk".into()),
        since_ms: SITUATION.now_ms,
    };
    let delivery = component.webhook("msg_1", &event, Some(SECRET), SITUATION.now_ms)?;
    let header = |wanted: &str| {
        let found = delivery.headers.iter().find(|(name, _)| name == wanted);
        found.map_or("", |(_, value)| value.as_str())
    };
    let mut mac =
        <Hmac<Sha256>>::new_from_slice(SECRET).map_err(|error| wrong(error.to_string()))?;
    mac.update(b"msg_1.1700000000.");
    mac.update(&delivery.body);
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    if header("webhook-id") != "msg_1" || header("webhook-timestamp") != "1700000000" {
        return Err(wrong(
            "the id or the timestamp of a webhook is wrong or missing",
        ));
    }
    if header("webhook-signature") != format!("v1,{signature}") {
        return Err(wrong(
            "a webhook is not signed according to Standard Webhooks",
        ));
    }
    let read = |reply: &Reply| component.read_webhook(reply, SITUATION);
    if !matches!(read(&complete(204, None, b""))?, Delivering::Delivered) {
        return Err(wrong(
            "a webhook with the response 204 does not count as delivered",
        ));
    }
    for reply in [
        complete(500, None, b""),
        complete(302, None, b""),
        Reply::Failed(Failure::NotConnected),
    ] {
        match read(&reply)? {
            Delivering::Retry(wait) if wait.after_ms <= DAY_MS => {}
            _ => return Err(wrong("a failed webhook is not attempted again")),
        }
    }
    Ok(())
}
