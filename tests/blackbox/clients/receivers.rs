//! The example receivers, which use other authors' Standard Webhooks libraries, verify Bulkhead's
//! signatures.

use super::{Client, LATE, control_upstream, folder};
use crate::relay::{RELIABLE, Relay, StoreKind};
use bulkhead_tests::http::{connect, head, read, request};
use bulkhead_tests::until;
use serde_json::Value;
use standardwebhooks::Webhook;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// "this secret is known to all", and another secret.
const SECRET: &str = "whsec_dGhpcyBzZWNyZXQgaXMga25vd24gdG8gYWxs";
const OTHER_SECRET: &str = "whsec_dGhpcyBzZWNyZXQgaXMgYW5vdGhlciBvbmUu";

/// Makes a test for each receiver.
macro_rules! with_both_receivers {
    ($($name:ident),+ $(,)?) => {
        mod python {
            use super::super::Client;
            $(#[test]
            #[ignore = "needs Python: run_tests.sh installs standardwebhooks"]
            fn $name() { super::$name(Client::Python) })+
        }
        mod node {
            use super::super::Client;
            $(#[test]
            #[ignore = "needs Node.js"]
            fn $name() { super::$name(Client::Node) })+
        }
    };
}

with_both_receivers!(
    receiver_handles_verified_webhook_once,
    receiver_rejects_webhook_with_another_secret,
    receiver_rejects_forged_webhooks,
);

/// A running receiver. It is killed when this value is dropped.
struct Receiver {
    process: Child,
    address: SocketAddr,
    output: Arc<Mutex<String>>,
    _folder: tempfile::TempDir,
}

impl Receiver {
    fn start(client: Client) -> Self {
        let name = match client {
            Client::Python => "receiver.py",
            Client::Node => "receiver.mjs",
            Client::Curl => panic!("there is no receiver with curl"),
        };
        let secrets = tempfile::tempdir().expect("folder should be accessible");
        let secret = secrets.path().join("webhook-secret");
        std::fs::write(&secret, format!("{SECRET}\n")).expect("file should be written");
        let mut process = Command::new(folder(client).join(name))
            .arg(secret)
            .arg("0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("program should start");
        let mut errors = BufReader::new(process.stderr.take().expect("stream should be piped"));
        let mut first = String::new();
        errors
            .read_line(&mut first)
            .expect("pipe should be readable");
        let address = first.trim().strip_prefix("listening on http://");
        let address = address.and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| {
            drop(errors.read_to_string(&mut first));
            panic!("{name} should listen: {first}")
        });
        let output = Arc::new(Mutex::new(String::new()));
        keep(errors, &Arc::default());
        keep(
            process.stdout.take().expect("stream should be piped"),
            &output,
        );
        Self {
            process,
            address,
            output,
            _folder: secrets,
        }
    }

    /// Waits until the receiver has written `count` lines, and returns them.
    #[track_caller]
    fn events(&self, count: usize) -> Vec<Value> {
        let lines = || self.output.lock().expect("thread should not panic").clone();
        until("the events are handled", || {
            lines().lines().count() >= count
        });
        lines()
            .lines()
            .map(|line| serde_json::from_str(line).expect("text should be JSON"))
            .collect()
    }

    fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> u16 {
        // `request` would record these bodies as secrets, although they are public.
        let mut stream = connect(self.address);
        let head = head("POST", "/hooks", headers, body.len());
        stream
            .write_all(&[&head, body].concat())
            .expect("data should be sent");
        read(&mut stream, false)
            .expect("response should arrive")
            .status
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // The kill fails if the process has already ended.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Keeps reading, so that the pipe does not fill up.
fn keep(pipe: impl Read + Send + 'static, kept: &Arc<Mutex<String>>) {
    let kept = Arc::clone(kept);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            *kept.lock().expect("thread should not panic") += &(line + "\n");
        }
    });
}

fn signed_later(relay: &Relay, receiver: &Receiver, message: &str) -> String {
    control_upstream(relay, LATE);
    relay.accepted(message, Some(&format!("http://{}/hooks", receiver.address)))
}

fn receiver_handles_verified_webhook_once(client: Client) {
    let receiver = Receiver::start(client);
    let mut relay = Relay::prepare(StoreKind::Sqlite, &RELIABLE);
    relay.set("BULKHEAD_WEBHOOK_SECRET", SECRET);
    relay.run();
    relay.wait_for_calls();
    let id = signed_later(
        &relay,
        &receiver,
        "a-message-for-a-receiver-of-others-%C3%BC",
    );
    let delivered = || relay.request(&id)["notification"]["status"] == "delivered";
    until("the webhook is delivered", delivered);
    let event = receiver.events(1).remove(0);
    assert_eq!(event["type"], "signature.ready");
    assert_eq!(event["data"]["id"], *id);
    assert_eq!(
        event["data"]["message"],
        "a-message-for-a-receiver-of-others-ü"
    );
    assert_eq!(event["data"]["signature"], relay.request(&id)["signature"]);

    // A repeated webhook is accepted and not handled again. A new one is handled.
    let again = format!("/crypto/requests/{id}/redeliver");
    // The first attempt may be less than a second ago.
    until("the redelivery is accepted", || {
        request(relay.server().address, "POST", &again, &[], b"").status == 202
    });
    until("the webhook is delivered again", delivered);
    let other = signed_later(&relay, &receiver, "another-message-for-a-receiver");
    let events = receiver.events(2);
    assert_eq!((events.len(), &events[1]["data"]["id"]), (2, &other.into()));
}

fn receiver_rejects_webhook_with_another_secret(client: Client) {
    let receiver = Receiver::start(client);
    let mut relay = Relay::prepare(StoreKind::Sqlite, &RELIABLE);
    relay.set("BULKHEAD_WEBHOOK_SECRET", OTHER_SECRET);
    relay.run();
    relay.wait_for_calls();
    let id = signed_later(&relay, &receiver, "a-message-under-another-secret");
    until("the rejection is reported", || {
        let notification = relay.request(&id)["notification"].take();
        let why = notification["last_error"].as_str();
        notification["status"] == "pending" && why.is_some_and(|why| why.contains("400"))
    });
    assert_eq!(receiver.events(0), Vec::<Value>::new());
}

const BODY: &str = r#"{"type":"signature.ready","data":{"id":"1","message":"ü"}}"#;

/// Returns the headers of a webhook with `BODY`.
fn signed(secret: &str, id: &str, at: i64) -> [(&'static str, String); 3] {
    let webhook = Webhook::new(secret).expect("secret should be valid");
    let signature = webhook
        .sign(id, at, BODY.as_bytes())
        .expect("signature should exist");
    [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at.to_string()),
        ("webhook-signature", signature),
    ]
}

fn receiver_rejects_forged_webhooks(client: Client) {
    let receiver = Receiver::start(client);
    let post = |headers: &[(&str, String)], body: &[u8]| {
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        receiver.post(&headers, body)
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(since.expect("clock should be after 1970").as_secs())
        .expect("time should fit");
    let right = signed(SECRET, "msg_1", now);
    let of_another = [
        ("webhook-id", "msg_2".to_owned()),
        right[1].clone(),
        right[2].clone(),
    ];
    let body = BODY.as_bytes();
    let changed = BODY.replace('1', "2");
    // Invalid UTF-8 and its replacement character must not count as equal.
    let replaced = BODY.replace('ü', "\u{fffd}");
    let invalid = [b"\xff", body].concat();
    for (what, headers, body) in [
        (
            "another secret",
            &signed(OTHER_SECRET, "msg_1", now)[..],
            body,
        ),
        ("a changed body", &right, changed.as_bytes()),
        ("a replaced letter", &right, replaced.as_bytes()),
        ("not UTF-8", &right, &invalid),
        ("another body", &right, b"{}"),
        ("another id", &of_another, body),
        ("too old", &signed(SECRET, "msg_1", now - 600), body),
        ("too new", &signed(SECRET, "msg_1", now + 600), body),
        ("no signature", &right[..2], body),
        ("no time", &right[1..], body),
        ("nothing", &[], body),
    ] {
        assert_eq!(post(headers, body), 400, "{what}");
    }
    for signature in [
        "", "v1", "v1,", "v1,%%%", "v1,AAAA", "v2,AAAA", "v1,ü", ", ,",
    ] {
        let mut headers = right.clone();
        headers[2].1 = signature.into();
        assert_eq!(post(&headers, body), 400, "{signature:?}");
    }
    // Right webhooks are accepted even after forged ones with the same id. Each is handled once.
    assert_eq!(post(&right, body), 204);
    assert_eq!(post(&right, body), 204);
    assert_eq!(post(&signed(SECRET, "msg_2", now), body), 204);
    let event: Value = serde_json::from_str(BODY).expect("text should be JSON");
    assert_eq!(receiver.events(2), [event.clone(), event]);
}
