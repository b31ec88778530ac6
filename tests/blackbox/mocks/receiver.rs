//! The mock receiver.

use super::{End, can_connect, read_until_silence, send_and_read};
use bulkhead_tests::http::{Response, connect, head, read};
use bulkhead_tests::mock::{Delivery, Fault, MockReceiver, Outcome};
use bulkhead_tests::until;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

/// "this secret is known to all"
const SECRET: &str = "whsec_dGhpcyBzZWNyZXQgaXMga25vd24gdG8gYWxs";
const BODY: &str = r#"{"type":"signature.ready","data":{"id":"i","message":"m"}}"#;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.expect("clock should be after 1970").as_secs();
    i64::try_from(seconds).expect("time should fit")
}

fn signed(at: i64) -> [(String, String); 3] {
    let webhook = Webhook::new(SECRET).expect("secret should be valid");
    let signature = webhook
        .sign("msg_1", at, BODY.as_bytes())
        .expect("signature should exist");
    [
        ("webhook-id".into(), "msg_1".into()),
        ("webhook-timestamp".into(), at.to_string()),
        ("webhook-signature".into(), signature),
    ]
}

fn post(mock: &MockReceiver, path: &str, headers: &[(String, String)], body: &str) -> Response {
    let headers: Vec<_> = headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    // `request` would record these bodies as secrets, although they are public.
    let head = head("POST", path, &headers, body.len());
    let mut stream = connect(mock.address());
    stream
        .write_all(&[&head, body.as_bytes()].concat())
        .expect("data should be sent");
    read(&mut stream, false).expect("response should arrive")
}

fn posted(path: &str) -> Vec<u8> {
    [&head("POST", path, &[], BODY.len()), BODY.as_bytes()].concat()
}

#[test]
fn webhook_is_recorded_and_verified() {
    let mock = MockReceiver::start(&["--secret", SECRET, "--verbose"]);
    let at = now();
    let response = post(&mock, "/any/path?with=query", &signed(at), BODY);
    assert_eq!((response.status, response.body.len()), (204, 0));
    // Webhooks with one defect each: another body, another signature, an old time, no headers.
    assert_eq!(
        post(&mock, "/", &signed(at), &BODY.replace('m', "n")).status,
        204
    );
    let mut altered = signed(at);
    altered[2].1 = "v1,AAAA".into();
    post(&mock, "/", &altered, BODY);
    post(&mock, "/", &signed(at - 3600), BODY);
    post(&mock, "/", &[], "not json");
    let deliveries = mock.deliveries();
    let verified: Vec<_> = deliveries.iter().map(|d| d.verified).collect();
    let no = Some(false);
    assert_eq!(verified, [Some(true), no, no, no, no]);
    let Delivery {
        id,
        timestamp,
        signature,
        body,
        ..
    } = &deliveries[0];
    assert_eq!(id.as_deref(), Some("msg_1"));
    assert_eq!(timestamp.as_ref(), Some(&at.to_string()));
    assert_eq!(signature.as_ref(), Some(&signed(at)[2].1));
    assert_eq!(body["data"]["message"], "m");
    assert_eq!(deliveries[0].path, "/any/path?with=query");
    assert_eq!((&deliveries[0].error, &deliveries[0].mode), (&None, &None));
    assert!(deliveries[1..].iter().all(|d| d.error.is_some()));
    assert_eq!(deliveries[4].body, Value::from("not json"));
    assert!(deliveries.is_sorted_by_key(|delivery| delivery.at));
    let line =
        "POST /any/path?with=query i signature.ready of \"m\" (webhook msg_1, verified) -> 204";
    until("the line is printed", || mock.output().lines().count() == 5);
    assert!(mock.output().contains(line), "{}", mock.output());
}

#[test]
fn webhook_is_not_verified_without_a_secret() {
    let mock = MockReceiver::start(&[]);
    post(&mock, "/", &signed(now()), BODY);
    assert_eq!(mock.deliveries()[0].verified, None);
}

#[test]
fn ordered_status_applies_to_all_or_some_paths() {
    let mock = MockReceiver::start(&[]);
    let status = |path: &str| post(&mock, path, &[], BODY).status;
    mock.control(&json!([
        {"status": 410, "path": "/gone"},
        {"status": 500},
        {"status": 200, "path": "/a", "next": 2},
    ]));
    let met: Vec<_> = ["/gone", "/a/1", "/b", "/a/2", "/a/3"].map(status).into();
    assert_eq!(met, [410, 200, 500, 200, 500]);
    mock.control(&json!({"mode": "normal"}));
    assert_eq!(status("/gone"), 204);
    mock.control(&json!({"status": 503, "retry_after": 7, "next": 1}));
    let response = post(&mock, "/", &[], BODY);
    assert_eq!(
        (response.status, response.header("retry-after")),
        (503, Some("7"))
    );
    mock.control(&json!({"mode": "redirect", "location": "http://127.0.0.1/x", "next": 1}));
    let response = post(&mock, "/", &[], BODY);
    assert_eq!(response.status, 302);
    assert_eq!(response.header("location"), Some("http://127.0.0.1/x"));
    assert_eq!(
        mock.try_control(r#"{"mode": "wrong-signature"}"#).status,
        400
    );
    let deliveries = mock.deliveries();
    let last: Vec<_> = deliveries[5..].iter().map(|d| d.status).collect();
    assert_eq!(last, [204, 503, 302].map(Outcome::Answered));
}

#[test]
fn receiver_faults_happen_as_ordered() {
    let mock = MockReceiver::start(&[]);
    let broken = |order: Value| {
        mock.control(&order);
        send_and_read(mock.address(), &posted("/hook"))
    };
    mock.control(&json!({"mode": "hang", "next": 1}));
    read_until_silence(mock.address(), &posted("/hook"), b"");
    let received = broken(json!({"mode": "reset", "next": 1}));
    assert_eq!((received.bytes.len(), received.end), (0, End::Reset));
    // A readable head with an incomplete body.
    let received = broken(json!({"mode": "half", "next": 1}));
    assert!(received.bytes.starts_with(b"HTTP/1.1 200 ") && received.end == End::Orderly);
    mock.control(&json!({"mode": "drip", "next": 1, "delay_ms": 3_600_000}));
    read_until_silence(mock.address(), &posted("/hook"), b"\r\n\r\n");
    let received = broken(json!({"status": 202, "delay_ms": 120, "next": 1}));
    assert_eq!(received.response().status, 202);
    assert!(received.took >= Duration::from_millis(120));
    let statuses: Vec<_> = mock.deliveries().into_iter().map(|d| d.status).collect();
    let expected = [
        Outcome::Broken(Fault::Hang),
        Outcome::Broken(Fault::Reset),
        Outcome::Broken(Fault::Half),
        Outcome::Answered(200),
        Outcome::Answered(202),
    ];
    assert_eq!(statuses, expected);
}

#[test]
fn receiver_accepts_connections_after_downtime() {
    let mock = MockReceiver::start(&[]);
    mock.control(&json!({"mode": "down"}));
    assert!(!can_connect(mock.address()));
    mock.control(&json!({"mode": "normal"}));
    assert_eq!(post(&mock, "/", &[], BODY).status, 204);
    mock.control(&json!({"mode": "down", "delay_ms": 50}));
    until("the receiver is back", || can_connect(mock.address()));
}

#[test]
fn log_entry_is_written_before_the_response() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let path = folder.path().join("deliveries");
    let file = path.to_str().expect("text should be UTF-8");
    let mut mock = MockReceiver::start(&["--log", file]);
    for n in 0..20 {
        post(&mock, &format!("/{n}"), &[], BODY);
    }
    mock.kill();
    let text = std::fs::read_to_string(&path).expect("file should be accessible");
    let lines = text.lines().map(serde_json::from_str::<Delivery>);
    let paths: Vec<_> = lines
        .map(|line| line.expect("line should be readable").path)
        .collect();
    let sent: Vec<_> = (0..20).map(|n| format!("/{n}")).collect();
    assert_eq!(paths, sent);
}
