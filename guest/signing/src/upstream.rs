//! Requests to the upstream signing API, and the meaning of its responses.

use crate::backoff::{MINUTE_MS, SECOND_MS, retry_after_ms, with_jitter};
use crate::bindings::exports::bulkhead::signing::exchange::{Reply, Response, Situation, Wait};
use crate::bindings::exports::bulkhead::signing::upstream::{
    Checking, Operation, SignedMessage, Signing,
};
use crate::{failure, signature, verifier};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Name of the peer in texts.
const UPSTREAM: &str = "the upstream";

/// Characters that a query may contain unencoded (RFC 3986 section 2.3).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Delay after the first failed attempt. It doubles with each attempt, up to the pace of the quota.
const RETRY_DELAY_MS_MIN: u64 = SECOND_MS;

/// Delay before the next attempt after the upstream rejected the key or the address.
const PROBE_MS: u64 = MINUTE_MS;

/// Delay after a 429 without a valid `Retry-After` header.
const SLOWED_MS: u64 = MINUTE_MS;

/// Returns the path and query of the request for an operation.
pub(crate) fn target(operation: &Operation) -> String {
    let encoded = |text| utf8_percent_encode(text, &UNRESERVED);
    match operation {
        Operation::Sign(message) => format!("/crypto/sign?message={}", encoded(message)),
        Operation::Verify(SignedMessage { message, signature }) => format!(
            "/crypto/verify?message={}&signature={}",
            encoded(message),
            encoded(signature)
        ),
        Operation::CheckKey => "/".to_owned(),
    }
}

/// The meaning of a status code that is not a result of the operation.
enum StatusMeaning {
    Retry(Wait),
    /// The request is at fault, not the key or the address.
    Rejected(u16),
    Paused(Wait),
    Slowed(Wait),
}

/// Interprets the response to a request for a signature.
pub(crate) fn read_signature(
    reply: Reply,
    message: &str,
    public_key: Option<&str>,
    situation: &Situation,
    pace_ms: u64,
) -> Signing {
    let retry = |reason: &str| Signing::Retry(wait(retry_delay_ms(situation, pace_ms), reason));
    let response = match reply {
        Reply::Complete(response) => response,
        Reply::Failed(failure) => return retry(&failure::describe(UPSTREAM, failure)),
    };
    if response.status == 200 {
        let Some(signature) = signature::from_body(&response.body) else {
            return retry("the upstream returned status 200 without a signature");
        };
        let Some(public_key) = public_key else {
            return Signing::Signed(signature);
        };
        let signed = SignedMessage {
            message: message.to_owned(),
            signature,
        };
        return match verifier::verify(&signed, public_key) {
            Ok(true) => Signing::Signed(signed.signature),
            Ok(false) => retry("the upstream's signature does not verify under the public key"),
            Err(error) => retry(&format!("the public key is not valid: {error}")),
        };
    }
    match status_meaning(&response, situation, pace_ms) {
        StatusMeaning::Retry(wait) => Signing::Retry(wait),
        StatusMeaning::Rejected(status) => Signing::Rejected(format!(
            "the upstream rejects this message (status {status})"
        )),
        StatusMeaning::Paused(wait) => Signing::Paused(wait),
        StatusMeaning::Slowed(wait) => Signing::Slowed(wait),
    }
}

/// Interprets the response to a verification: 200 means valid, 400 invalid.
pub(crate) fn read_verification(reply: Reply, situation: &Situation) -> Checking {
    read_check(reply, situation, |status| match status {
        200 => Some(true),
        400 => Some(false),
        _ => None,
    })
}

/// Interprets the response to a check of the key: 200 means valid, 401 and 403 invalid.
pub(crate) fn read_key_check(reply: Reply, situation: &Situation) -> Checking {
    read_check(reply, situation, |status| match status {
        200 => Some(true),
        401 | 403 => Some(false),
        _ => None,
    })
}

fn read_check(
    reply: Reply,
    situation: &Situation,
    known: impl FnOnce(u16) -> Option<bool>,
) -> Checking {
    let response = match reply {
        Reply::Complete(response) => response,
        Reply::Failed(failure) => {
            return Checking::Unknown(wait(
                retry_delay_ms(situation, RETRY_DELAY_MS_MIN),
                &failure::describe(UPSTREAM, failure),
            ));
        }
    };
    if let Some(known) = known(response.status) {
        return Checking::Known(known);
    }
    match status_meaning(&response, situation, RETRY_DELAY_MS_MIN) {
        StatusMeaning::Retry(wait) => Checking::Unknown(wait),
        StatusMeaning::Rejected(status) => Checking::Unknown(wait(
            retry_delay_ms(situation, RETRY_DELAY_MS_MIN),
            &format!("the upstream rejects the request (status {status})"),
        )),
        StatusMeaning::Paused(wait) => Checking::Paused(wait),
        StatusMeaning::Slowed(wait) => Checking::Slowed(wait),
    }
}

/// Interprets a status code that is not a result of the operation.
fn status_meaning(response: &Response, situation: &Situation, pace_ms: u64) -> StatusMeaning {
    let retry_after = retry_after_ms(response.retry_after.as_deref(), situation.now_ms);
    let status = response.status;
    match status {
        400 | 413 | 414 | 422 | 431 => StatusMeaning::Rejected(status),
        429 => StatusMeaning::Slowed(wait(
            retry_after.unwrap_or_else(|| with_jitter(SLOWED_MS, situation)),
            "the upstream received too many calls (status 429)",
        )),
        // A time-out or a bad moment: the key is not at fault.
        408 | 425 => StatusMeaning::Retry(wait(
            retry_delay_ms(situation, pace_ms),
            &format!("the upstream returned status {status}"),
        )),
        401..=499 => StatusMeaning::Paused(wait(
            retry_after
                .unwrap_or(0)
                .max(with_jitter(PROBE_MS, situation)),
            &format!("the upstream rejects the key or the URL (status {status}); check both"),
        )),
        _ => StatusMeaning::Retry(wait(
            retry_after
                .unwrap_or(0)
                .max(retry_delay_ms(situation, pace_ms)),
            &format!("the upstream returned status {status}"),
        )),
    }
}

/// Returns the delay before the next attempt: one second at first, doubled with each attempt, up to the pace of the quota.
/// A longer delay would leave calls unused; a shorter one would take calls from other messages.
fn retry_delay_ms(situation: &Situation, pace_ms: u64) -> u64 {
    let doublings = situation.attempts.saturating_sub(1).min(20);
    let max = pace_ms.max(RETRY_DELAY_MS_MIN);
    with_jitter(RETRY_DELAY_MS_MIN << doublings, situation).min(max)
}

fn wait(after_ms: u64, reason: &str) -> Wait {
    Wait {
        after_ms,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::situation;
    use crate::bindings::exports::bulkhead::signing::exchange::Failure;

    const PACE_MS: u64 = 6000;

    fn complete(status: u16, body: &[u8]) -> Reply {
        Reply::Complete(Response {
            status,
            retry_after: None,
            body: body.to_vec(),
        })
    }

    fn read(reply: Reply, attempts: u32) -> Signing {
        read_signature(reply, "message", None, &situation(attempts, 0), PACE_MS)
    }

    #[test]
    fn targets_are_percent_encoded() {
        let sign = |message: &str| target(&Operation::Sign(message.to_owned()));
        assert_eq!(sign("abc-._~"), "/crypto/sign?message=abc-._~");
        assert_eq!(
            sign("a b&c=d+e/f?g#h%ü\r\n"),
            "/crypto/sign?message=a%20b%26c%3Dd%2Be%2Ff%3Fg%23h%25%C3%BC%0D%0A"
        );
        let signed = SignedMessage {
            message: "m&".into(),
            signature: "s-_=".into(),
        };
        assert_eq!(
            target(&Operation::Verify(signed)),
            "/crypto/verify?message=m%26&signature=s-_%3D"
        );
        assert_eq!(target(&Operation::CheckKey), "/");
    }

    #[test]
    fn only_a_complete_signature_is_accepted() {
        let text = "Ab-_".repeat(64);
        let signed =
            |body: &str| matches!(read(complete(200, body.as_bytes()), 1), Signing::Signed(_));
        assert!(signed(&text) && signed(&format!("{text}\n")) && signed(&"Ab+/".repeat(64)));
        assert!(signed(&format!("{}==", "A".repeat(342))) && signed(&"A".repeat(342)));
        for wrong in [
            "",
            "OK",
            "<html>502 Bad Gateway</html>",
            "{\"signature\": \"abcd\"}",
            // A mix of both alphabets, an impossible length of base64, too short, too long, two signatures.
            &"A-b+".repeat(64),
            &"A".repeat(341),
            &"A".repeat(80),
            &"A".repeat(4096),
            &format!("{text} {text}"),
        ] {
            assert!(!signed(wrong), "{wrong}");
        }
        assert!(matches!(
            read(complete(200, b"\xff\xfe"), 1),
            Signing::Retry(_)
        ));
        assert!(matches!(
            read(complete(201, text.as_bytes()), 1),
            Signing::Retry(_)
        ));
    }

    #[test]
    fn status_codes_distinguish_message_key_and_upstream_faults() {
        for status in [400, 413, 414, 422, 431] {
            assert!(
                matches!(read(complete(status, b""), 1), Signing::Rejected(_)),
                "{status}"
            );
        }
        for status in [401, 402, 403, 404, 405, 407, 410, 418, 451, 499] {
            assert!(
                matches!(read(complete(status, b""), 1), Signing::Paused(_)),
                "{status}"
            );
        }
        for status in [
            100, 202, 204, 301, 302, 307, 408, 425, 500, 502, 503, 504, 599,
        ] {
            assert!(
                matches!(read(complete(status, b""), 1), Signing::Retry(_)),
                "{status}"
            );
        }
        assert!(matches!(read(complete(429, b""), 1), Signing::Slowed(_)));
        for failure in [
            Failure::NotConnected,
            Failure::TimedOut,
            Failure::CutOff,
            Failure::TooLong,
            Failure::Malformed,
        ] {
            assert!(matches!(read(Reply::Failed(failure), 1), Signing::Retry(_)));
        }
    }

    #[test]
    fn delays_double_up_to_the_pace_of_the_quota() {
        let waited = |attempts, pace_ms| match read_signature(
            complete(502, b""),
            "",
            None,
            &situation(attempts, 0),
            pace_ms,
        ) {
            Signing::Retry(wait) => wait.after_ms,
            other => panic!("{other:?}"),
        };
        let waits: Vec<_> = [1, 2, 3, 4, 5, 1000, u32::MAX]
            .map(|attempts| waited(attempts, PACE_MS))
            .into();
        assert_eq!(waits, [1000, 2000, 4000, 6000, 6000, 6000, 6000]);
        assert_eq!(waited(5, 10), 1000);
    }

    #[test]
    fn retry_after_is_honoured() {
        let read = |status, retry_after: &str| {
            let reply = Reply::Complete(Response {
                status,
                retry_after: Some(retry_after.to_owned()),
                body: Vec::new(),
            });
            match read(reply, 1) {
                Signing::Slowed(wait) | Signing::Retry(wait) | Signing::Paused(wait) => {
                    wait.after_ms
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read(429, "17"), 17_000);
        assert_eq!(read(503, "17"), 17_000);
        assert_eq!(read(503, "0"), 1000);
        assert_eq!(read(401, "1"), PROBE_MS);
        assert_eq!(read(429, "soon"), SLOWED_MS);
    }

    #[test]
    fn verification_and_key_check_interpret_status_codes() {
        let situation = situation(1, 0);
        let verified = |status| read_verification(complete(status, b""), &situation);
        assert!(matches!(verified(200), Checking::Known(true)));
        assert!(matches!(verified(400), Checking::Known(false)));
        assert!(matches!(verified(422), Checking::Unknown(_)));
        assert!(matches!(verified(401), Checking::Paused(_)));
        assert!(matches!(verified(502), Checking::Unknown(_)));
        assert!(matches!(verified(429), Checking::Slowed(_)));
        let key = |status| read_key_check(complete(status, b"welcome"), &situation);
        assert!(matches!(key(200), Checking::Known(true)));
        assert!(matches!(key(401), Checking::Known(false)));
        assert!(matches!(key(403), Checking::Known(false)));
        assert!(matches!(key(404), Checking::Paused(_)));
        assert!(matches!(key(500), Checking::Unknown(_)));
    }
}
