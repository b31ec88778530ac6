//! Notifications according to Standard Webhooks 1.0, and the meaning of the receivers' responses.

use crate::backoff::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, retry_after_ms, with_jitter};
use crate::bindings::exports::bulkhead::signing::exchange::{Reply, Situation, Wait};
use crate::bindings::exports::bulkhead::signing::webhook::{Delivering, Delivery, Event};
use crate::failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use serde::Serialize;
use sha2::Sha256;
use std::time::{Duration, SystemTime};

/// Delays after the first attempts.
const FIRST_DELAYS_MS: [u64; 6] = [
    SECOND_MS,
    5 * SECOND_MS,
    30 * SECOND_MS,
    2 * MINUTE_MS,
    10 * MINUTE_MS,
    30 * MINUTE_MS,
];
/// Age of a notification up to which further attempts are hourly.
const HOURLY_MS: u64 = 7 * DAY_MS;
/// Age of a notification up to which further attempts are daily. After that it is parked.
const DAILY_MS: u64 = 30 * DAY_MS;

/// The JSON body of a notification.
#[derive(Serialize)]
struct Content<'a> {
    r#type: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    id: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Builds the request to the receiver. It is signed if there is a secret.
pub(crate) fn build(id: &str, event: &Event, secret: Option<&[u8]>, now_ms: u64) -> Delivery {
    let (r#type, signature, error) = match &event.outcome {
        Ok(signature) => ("signature.ready", Some(signature.as_str()), None),
        Err(error) => ("signature.failed", None, Some(error.as_str())),
    };
    let content = Content {
        r#type,
        timestamp: rfc3339(event.since_ms),
        data: Data {
            id: &event.request,
            message: &event.message,
            signature,
            error,
        },
    };
    let body = serde_json::to_vec(&content).expect("strings can be serialised");
    let timestamp = (now_ms / SECOND_MS).to_string();
    let mut headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("webhook-id".to_owned(), id.to_owned()),
        ("webhook-timestamp".to_owned(), timestamp.clone()),
    ];
    if let Some(secret) = secret {
        let signature = sign(id, &timestamp, &body, secret);
        headers.push(("webhook-signature".to_owned(), signature));
    }
    Delivery { headers, body }
}

/// Returns the value of the header `webhook-signature` (Standard Webhooks 1.0, "Signature scheme").
pub(crate) fn sign(id: &str, timestamp: &str, body: &[u8], secret: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC accepts keys of any length");
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    "v1,".to_owned() + &STANDARD.encode(mac.finalize().into_bytes())
}

/// Interprets the receiver's response.
pub(crate) fn read(reply: Reply, situation: &Situation) -> Delivering {
    let response = match reply {
        Reply::Complete(response) => response,
        Reply::Failed(failure) => {
            return retry_or_park(situation, 0, failure::describe("the receiver", failure));
        }
    };
    match response.status {
        200..=299 => Delivering::Delivered,
        // Standard Webhooks 1.0: the receiver does not want further notifications.
        410 => Delivering::Parked(
            "the receiver does not want notifications any more (status 410)".to_owned(),
        ),
        status => {
            let requested_ms = retry_after_ms(response.retry_after.as_deref(), situation.now_ms);
            let reason = match status {
                300..=399 => {
                    format!(
                        "the receiver redirects (status {status}); redirects are not followed, so give the final URL"
                    )
                }
                _ => format!("the receiver returned status {status}"),
            };
            retry_or_park(situation, requested_ms.unwrap_or_default(), reason)
        }
    }
}

/// Returns the delay before the next attempt, at least `delay_ms_min`, or parks an old notification.
fn retry_or_park(situation: &Situation, delay_ms_min: u64, reason: String) -> Delivering {
    let attempts = usize::try_from(situation.attempts).unwrap_or(usize::MAX);
    let planned = match FIRST_DELAYS_MS.get(attempts.saturating_sub(1)) {
        Some(first) => *first,
        None if situation.age_ms < HOURLY_MS => HOUR_MS,
        None if situation.age_ms < DAILY_MS => DAY_MS,
        None => return Delivering::Parked(reason),
    };
    let after_ms = with_jitter(planned, situation).max(delay_ms_min);
    Delivering::Retry(Wait { after_ms, reason })
}

fn rfc3339(ms: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::situation;
    use crate::bindings::exports::bulkhead::signing::exchange::{Failure, Response};

    fn event(outcome: Result<&str, &str>) -> Event {
        Event {
            request: "0123".into(),
            message: "a \"message\"".into(),
            outcome: outcome.map(str::to_owned).map_err(str::to_owned),
            since_ms: 784_111_777_123,
        }
    }

    fn complete(status: u16, retry_after: Option<&str>) -> Reply {
        Reply::Complete(Response {
            status,
            retry_after: retry_after.map(str::to_owned),
            body: Vec::new(),
        })
    }

    /// The example in the tests of the Standard Webhooks libraries for Rust, Python and JavaScript.
    #[test]
    fn known_answer_of_standard_webhooks() {
        let secret = STANDARD
            .decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .expect("the secret should be base64");
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body, &secret),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn body_and_headers_depend_on_outcome_and_secret() {
        let built = |outcome, secret| build("id", &event(outcome), secret, 784_111_800_999);
        let ready = built(Ok("sig"), Some(&b"secret"[..]));
        assert_eq!(
            String::from_utf8(ready.body).expect("JSON should be UTF-8"),
            r#"{"type":"signature.ready","timestamp":"1994-11-06T08:49:37.123Z","data":{"id":"0123","message":"a \"message\"","signature":"sig"}}"#
        );
        let names: Vec<_> = ready
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "content-type",
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature"
            ]
        );
        assert_eq!(ready.headers[2].1, "784111800");
        let failed = built(Err("no"), None);
        assert_eq!(
            String::from_utf8(failed.body).expect("JSON should be UTF-8"),
            r#"{"type":"signature.failed","timestamp":"1994-11-06T08:49:37.123Z","data":{"id":"0123","message":"a \"message\"","error":"no"}}"#
        );
        assert_eq!(failed.headers.len(), 3);
    }

    #[test]
    fn delays_follow_the_schedule_until_the_notification_is_parked() {
        let wait = |attempts, age_ms| match read(complete(500, None), &situation(attempts, age_ms))
        {
            Delivering::Retry(wait) => Some(wait.after_ms),
            Delivering::Parked(_) => None,
            Delivering::Delivered => panic!("status 500 should not count as delivered"),
        };
        let first: Vec<_> = (1..=8)
            .map(|attempts| wait(attempts, 0).expect("the first attempts should be repeated"))
            .collect();
        assert_eq!(
            first,
            [
                1000, 5000, 30_000, 120_000, 600_000, 1_800_000, HOUR_MS, HOUR_MS
            ]
        );
        assert_eq!(wait(100, HOURLY_MS - 1), Some(HOUR_MS));
        assert_eq!(wait(100, HOURLY_MS), Some(DAY_MS));
        assert_eq!(wait(200, DAILY_MS - 1), Some(DAY_MS));
        assert_eq!(wait(200, DAILY_MS), None);
        // The first attempts are made at any age, because an operator may have requested redelivery.
        assert_eq!(wait(1, DAILY_MS), Some(1000));
    }

    #[test]
    fn status_codes_of_receivers_are_interpreted() {
        let situation = situation(1, 0);
        for status in [200, 201, 204, 299] {
            assert!(matches!(
                read(complete(status, None), &situation),
                Delivering::Delivered
            ));
        }
        for status in [100, 301, 307, 400, 401, 404, 429, 500, 503] {
            assert!(
                matches!(
                    read(complete(status, None), &situation),
                    Delivering::Retry(_)
                ),
                "{status}"
            );
        }
        assert!(matches!(
            read(complete(410, None), &situation),
            Delivering::Parked(_)
        ));
        let failed = Reply::Failed(Failure::TimedOut);
        assert!(matches!(read(failed, &situation), Delivering::Retry(_)));
        for (retry_after, expected) in [("120", 120_000), ("0", 1000), ("nonsense", 1000)] {
            let read = read(complete(503, Some(retry_after)), &situation);
            assert!(
                matches!(read, Delivering::Retry(wait) if wait.after_ms == expected),
                "{retry_after}"
            );
        }
    }
}
