//! The relay's responses to callers.

use super::{RELIABLE, RESPONSE_TIME_MAX, Relay, StoreKind, WEBHOOK_SECRET, on_both_stores};
use bulkhead_tests::server::{Server, run};
use bulkhead_tests::until;
use bulkhead_tests::{description, http};
use serde_json::json;

on_both_stores!(
    message_is_signed_at_once_or_its_caller_notified,
    callers_of_one_message_share_a_call_and_are_all_notified,
    message_refused_by_upstream_fails_and_is_notified,
    wrong_key_pauses_calls_across_a_restart,
    upstream_that_never_worked_makes_health_degraded,
    drain_completes_running_webhooks,
    drain_timeout_logs_interrupted_webhooks,
    signature_and_key_checks_use_few_calls,
);

/// Starts a relay with a long timeout, for responses that are late on purpose and later on a busy
/// machine.
fn with_long_timeout(kind: StoreKind) -> Relay {
    let mut relay = Relay::prepare(kind, &RELIABLE);
    relay.set("BULKHEAD_UPSTREAM_TIMEOUT", "10s");
    relay.run();
    relay.wait_for_calls();
    relay
}

fn message_is_signed_at_once_or_its_caller_notified(kind: StoreKind) {
    let relay = with_long_timeout(kind);
    let (now, took) = relay.sign("signed%20at%20once", None);
    assert_eq!(now.status, 200, "{now:?}");
    assert!(took < RESPONSE_TIME_MAX);
    assert_eq!(now.json()["message"], "signed at once");
    let signature = now.json()["signature"].clone();
    // Right after the response, the request has the same state.
    let id = now.json()["id"]
        .as_str()
        .expect("id should be a string")
        .to_owned();
    assert_eq!(relay.request(&id)["signature"], signature);
    assert_eq!(relay.request(&id)["notification"]["status"], "none");

    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 1900, "next": 1}));
    let url = relay.callback("later");
    let (later, took) = relay.sign("signed%20later", Some(&url));
    assert_eq!(later.status, 202, "{later:?}");
    assert!(took < RESPONSE_TIME_MAX, "{took:?}");
    let document = later.json();
    let id = document["id"].as_str().expect("id should be a string");
    assert_eq!(document["status"], "pending");
    assert_eq!(document["status_url"], format!("/crypto/requests/{id}"));
    assert_eq!(later.header("location"), document["status_url"].as_str());
    assert!(later.header("retry-after").is_some());
    // A late signature is used.
    let signed = relay.wait_until_signed(id);
    assert_eq!(signed["attempts"], 1);
    until("the receiver is notified", || {
        relay.receiver.deliveries().len() == 1
    });
    let delivered = relay.receiver.deliveries().remove(0);
    assert_eq!(delivered.path, "/later");
    assert_eq!(delivered.verified, Some(true));
    assert_eq!(delivered.id.as_deref(), Some(id));
    let body = delivered.body;
    description::validate_notification(&body).expect("notification should match openapi.yaml");
    assert_eq!(body["type"], "signature.ready");
    assert_eq!(body["data"]["signature"], signed["signature"]);
    until("the delivery is stored", || {
        relay.request(id)["notification"]["status"] == "delivered"
    });

    let (again, _) = relay.sign("signed%20later", None);
    assert_eq!(
        (again.status, again.json()["signature"].clone()),
        (200, signed["signature"].clone())
    );
    assert_eq!(relay.upstream.summary().arrivals, 2);
    relay.check_quota();
}

fn callers_of_one_message_share_a_call_and_are_all_notified(kind: StoreKind) {
    let relay = with_long_timeout(kind);
    relay.upstream.control(&json!({"mode": "502", "next": 1}));
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 1900, "next": 1}));
    let urls = ["a", "b", "a"].map(|path| relay.callback(path));
    let relay = &relay;
    let ids: Vec<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = urls
            .iter()
            .map(|url| scope.spawn(move || relay.accepted("shared%20message", Some(url))))
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().expect("thread should not panic"))
            .collect()
    });
    assert_eq!(
        ids[0], ids[2],
        "equal message and callback should give the same request"
    );
    assert_ne!(ids[0], ids[1]);
    until("both callers are notified", || {
        relay.receiver.deliveries().len() == 2
    });
    let mut delivered: Vec<_> = relay
        .receiver
        .deliveries()
        .into_iter()
        .map(|delivery| (delivery.path, delivery.id.expect("id should be a string")))
        .collect();
    delivered.sort();
    assert_eq!(
        delivered,
        [("/a".into(), ids[0].clone()), ("/b".into(), ids[1].clone())]
    );
    assert_eq!(relay.upstream.summary().arrivals, 2);
}

fn message_refused_by_upstream_fails_and_is_notified(kind: StoreKind) {
    let relay = with_long_timeout(kind);
    relay.upstream.control(&json!({"mode": "422", "next": 1}));
    let (rejected, _) = relay.sign("refused%20message", None);
    assert_eq!(
        (rejected.status, rejected.problem().as_str()),
        (422, "upstream_rejected")
    );
    let (again, _) = relay.sign("refused%20message", None);
    assert_eq!(again.status, 422);
    relay.upstream.control(&json!({"mode": "502", "next": 1}));
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 1900, "status": 422, "next": 1}));
    let url = relay.callback("failed");
    let id = relay.accepted("another%20one", Some(&url));
    until("the request has ended", || {
        relay.request(&id)["status"] != "pending"
    });
    until("the receiver is notified", || {
        !relay.receiver.deliveries().is_empty()
    });
    assert_eq!(relay.request(&id)["status"], "failed");
    let delivered = relay.receiver.deliveries().remove(0).body;
    assert_eq!(delivered["type"], "signature.failed");
    assert_eq!(delivered["data"]["error"], relay.request(&id)["error"]);
    description::validate_notification(&delivered).expect("notification should match openapi.yaml");
}

fn wrong_key_pauses_calls_across_a_restart(kind: StoreKind) {
    let mut relay = Relay::prepare(kind, &RELIABLE);
    relay.set("BULKHEAD_UPSTREAM_API_KEY", "a-key-that-is-wrong");
    relay.run();
    relay.wait_for_calls();
    let ids: Vec<_> = (0..5)
        .map(|n| relay.accepted(&format!("message-for-a-key-{n}"), None))
        .collect();
    until("the wrong key is reported", || {
        relay.health()["upstream"]["status"] == "rejecting"
    });
    let health = relay.health();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["capabilities"]["signing"]["status"], "failing");
    assert!(
        ids.iter()
            .all(|id| relay.request(id)["status"] == "pending")
    );
    // A few calls may have been under way together. After them, there are none for a minute.
    assert!(relay.upstream.summary().arrivals <= 5);
    relay.set("BULKHEAD_UPSTREAM_API_KEY", super::KEY);
    relay.run();
    // The pause outlasts the process, so that a restart does not repeat the calls.
    until("the pause is known", || {
        !relay.health()["upstream"]["held_seconds"].is_null()
    });
    assert_ne!(relay.health()["upstream"]["held_seconds"], 0);
}

fn upstream_that_never_worked_makes_health_degraded(kind: StoreKind) {
    let relay = Relay::start(kind, &RELIABLE);
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 0, "status": 500}));
    assert_eq!(relay.health()["status"], "ok");
    let id = relay.accepted("message-for-an-upstream-that-never-works", None);
    until("health is degraded", || {
        relay.health()["status"] == "degraded"
    });
    let signing = relay.health()["capabilities"]["signing"].clone();
    assert_eq!(signing["status"], "failing");
    let why = signing["why"].as_str().expect("there should be a reason");
    assert!(
        why.starts_with("no call of the signing API has succeeded since the start: "),
        "{why}"
    );
    relay.upstream.control(&json!({"mode": "normal"}));
    relay.wait_until_signed(&id);
    assert_eq!(relay.health()["status"], "ok");
    // The upstream fails half of the time. After it has worked, failures are normal.
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 0, "status": 500}));
    let id = relay.accepted("message-for-an-upstream-that-fails", None);
    until("some calls have failed", || {
        relay.request(&id)["attempts"].as_u64() >= Some(3)
    });
    assert_eq!(relay.health()["status"], "ok");
}

/// An interrupted webhook would be sent again by the next process, although the receiver accepted
/// it.
fn drain_completes_running_webhooks(kind: StoreKind) {
    let mut relay = Relay::start(kind, &RELIABLE);
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 1900, "next": 1}));
    relay
        .receiver
        .control(&json!({"mode": "late", "delay_ms": 1500}));
    let url = relay.callback("slow");
    let id = relay.accepted("message-for-a-slow-receiver", Some(&url));
    until("the webhook is under way", || {
        relay.receiver.deliveries().len() == 1
    });
    relay.server().signal("TERM");
    let ended = relay
        .server
        .as_mut()
        .expect("server should run")
        .wait(RESPONSE_TIME_MAX * 5);
    assert!(ended.success());
    relay.run();
    assert_eq!(relay.request(&id)["notification"]["status"], "delivered");
    assert_eq!(relay.receiver.deliveries().len(), 1);
}

fn drain_timeout_logs_interrupted_webhooks(kind: StoreKind) {
    let mut relay = Relay::prepare(kind, &RELIABLE);
    relay.set("BULKHEAD_DRAIN_TIMEOUT", "100ms");
    relay.run();
    relay.wait_for_calls();
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 1900, "next": 1}));
    relay.receiver.control(&json!({"mode": "hang"}));
    let url = relay.callback("hangs");
    relay.accepted("message-for-a-receiver-that-hangs", Some(&url));
    until("the webhook is under way", || {
        relay.receiver.deliveries().len() == 1
    });
    let server = relay.server.as_mut().expect("server should run");
    server.signal("TERM");
    let ended = server.wait(RESPONSE_TIME_MAX * 5);
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    let log = server.log();
    assert!(log.contains("cutting unfinished requests"), "{log}");
    assert!(log.contains(r#""relay.ended":false"#), "{log}");
}

fn signature_and_key_checks_use_few_calls(kind: StoreKind) {
    let mut relay = Relay::start(kind, &RELIABLE);
    let verify = |relay: &Relay, message: &str, signature: &str| {
        let target = format!("/crypto/verify?message={message}&signature={signature}");
        let response = relay.server().get("GET", &target);
        assert_eq!(response.status, 200, "{response:?}");
        response.json()["valid"]
            .as_bool()
            .expect("valid should be a boolean")
    };
    let key = relay.server().get("GET", "/crypto/test_api_key").json();
    assert_eq!(key["valid"], true);
    assert!(key["checked_at"].is_string());
    let (signed, _) = relay.sign("message-to-verify", None);
    let signature = signed.json()["signature"]
        .as_str()
        .expect("signature should exist")
        .to_owned();
    let calls = relay.upstream.summary().arrivals;
    assert!(verify(&relay, "message-to-verify", &signature));
    assert_eq!(
        relay.server().get("GET", "/crypto/test_api_key").json()["valid"],
        true
    );
    assert_eq!(
        relay.upstream.summary().arrivals,
        calls,
        "both results should be known without a call"
    );
    assert!(!verify(&relay, "another-message", &signature));
    assert_eq!(relay.upstream.summary().arrivals, calls + 1);

    // With the public key, the server verifies without a call.
    let pem = http::request(relay.upstream.address(), "GET", "/public-key", &[], b"");
    let path = relay.file("key.pem");
    std::fs::write(&path, pem.body).expect("file should be written");
    relay.set("BULKHEAD_UPSTREAM_PUBLIC_KEY", &path.display().to_string());
    relay.run();
    relay.wait_for_calls();
    let calls = relay.upstream.summary().arrivals;
    assert!(verify(&relay, "message-to-verify", &signature));
    assert!(!verify(&relay, "another-message", &signature));
    assert!(!verify(&relay, "another-message", "no-base64!"));
    assert_eq!(relay.upstream.summary().arrivals, calls);
    // A signature that does not verify is not accepted.
    relay
        .upstream
        .control(&json!({"mode": "wrong-signature", "next": 1}));
    let (signed, _) = relay.sign("signed-wrong-at-first", None);
    let id = signed.json()["id"]
        .as_str()
        .expect("id should be a string")
        .to_owned();
    let signed = relay.wait_until_signed(&id);
    assert_eq!(signed["attempts"], 2);
    let signature = signed["signature"]
        .as_str()
        .expect("signature should exist");
    assert!(verify(&relay, "signed-wrong-at-first", signature));
}

#[test]
fn invalid_signing_request_is_rejected() {
    let mut relay = Relay::prepare(StoreKind::Sqlite, &RELIABLE);
    // A new store makes no call for a window.
    relay.set("BULKHEAD_UPSTREAM_WINDOW", "1h");
    relay.set("BULKHEAD_MESSAGE_MAX", "100B");
    relay.set("BULKHEAD_BACKLOG_MAX", "2");
    relay.set("BULKHEAD_CALLERS_MAX", "2");
    relay.run();
    let address = relay.server().address;
    let get = |target: &str| http::request(address, "GET", target, &[], b"");
    for target in [
        "/crypto/sign",
        "/crypto/sign?message=",
        "/crypto/sign?message=%ff",
        "/crypto/sign?message=a&message=b",
        "/crypto/verify?message=a",
    ] {
        let rejected = get(target);
        assert_eq!(
            (rejected.status, rejected.problem().as_str()),
            (400, "invalid_parameter")
        );
    }
    for callback in [
        "ftp://example.com/",
        "http://localhost/",
        "http://10.1.2.3/",
        "http://[::1]/",
        "http://169.254.169.254/latest",
        "http://2130706432/",
        "http://user:pass@example.com/",
        "not a url",
    ] {
        let rejected = get(&format!(
            "/crypto/sign?message=m&callback_url={}",
            callback.replace(' ', "+")
        ));
        let got = (rejected.status, rejected.problem());
        // These addresses are not among those that the tests allow.
        assert_eq!(got, (422, "callback_rejected".into()), "{callback}");
    }
    let large = get(&format!("/crypto/sign?message={}", "x".repeat(101)));
    assert_eq!(
        (large.status, large.problem().as_str()),
        (413, "message_too_large")
    );
    for target in [
        "/crypto/sign?message=m",
        "/crypto/verify",
        "/crypto/test_api_key",
    ] {
        let head = http::request(address, "HEAD", target, &[], b"");
        assert_eq!(head.status, 405);
    }
    let nobody = get(&format!("/crypto/requests/{}", "0".repeat(44)));
    assert_eq!(
        (nobody.status, nobody.problem().as_str()),
        (404, "not_found")
    );

    let json_type = [("Content-Type", "application/json")];
    let post = |body: &str, headers: &[(&str, &str)]| {
        http::request(address, "POST", "/crypto/sign", headers, body.as_bytes())
    };
    assert_eq!(post("{}", &[]).status, 415);
    assert_eq!(post("{", &json_type).problem(), "invalid_json");
    assert_eq!(post("{}", &json_type).problem(), "invalid_parameter");
    // No call is allowed yet, so that these requests wait.
    assert_eq!(
        post(r#"{"message": "the first one"}"#, &json_type).status,
        202
    );
    assert_eq!(
        post(r#"{"message": "the second one"}"#, &json_type).status,
        202
    );
    let full = post(r#"{"message": "the third one"}"#, &json_type);
    assert_eq!(
        (full.status, full.problem().as_str()),
        (503, "backlog_full")
    );
    assert!(full.header("retry-after").is_some());
    // A waiting message accepts one more caller, and no further one.
    let join = |path: &str| {
        let url = format!("https://receiver.example/{path}");
        let body = json!({"message": "the first one", "callback_url": url}).to_string();
        post(&body, &json_type)
    };
    assert_eq!(join("a").status, 202);
    let full = join("b");
    assert_eq!(
        (full.status, full.problem().as_str()),
        (503, "backlog_full")
    );
    let detail = full.json()["detail"].to_string();
    assert!(detail.contains("--callers-max"), "{detail}");
    assert_eq!(
        join("a").status,
        202,
        "a waiting caller should be accepted again"
    );
}

#[test]
fn signing_without_upstream_returns_not_configured() {
    let server = Server::shared();
    for target in [
        "/crypto/sign?message=m",
        "/crypto/verify",
        "/crypto/test_api_key",
        "/crypto/requests/1",
    ] {
        let rejected = server.get("GET", target);
        assert_eq!(
            (rejected.status, rejected.problem().as_str()),
            (503, "not_configured")
        );
    }
    let allow = server.get("OPTIONS", "/crypto/sign");
    assert_eq!(allow.header("allow"), Some("GET, POST, OPTIONS"));
    assert_eq!(
        server.get("GET", "/health").json()["capabilities"]["signing"]["status"],
        "not_configured"
    );
}

#[test]
fn unusable_settings_stop_the_start_with_a_reason() {
    for (variable, value, needle) in [
        ("BULKHEAD_UPSTREAM_URL", "ftp://x/", "BULKHEAD_UPSTREAM_URL"),
        (
            "BULKHEAD_WEBHOOK_SECRET",
            "not base64!",
            "BULKHEAD_WEBHOOK_SECRET",
        ),
        (
            "BULKHEAD_UPSTREAM_PUBLIC_KEY",
            "/nonexistent",
            "BULKHEAD_UPSTREAM_PUBLIC_KEY",
        ),
        (
            "BULKHEAD_UPSTREAM_PUBLIC_KEY",
            "-----BEGIN PUBLIC KEY-----",
            "BULKHEAD_UPSTREAM_PUBLIC_KEY",
        ),
        (
            "BULKHEAD_WEBHOOK_SECRET_PREVIOUS",
            "not base64!",
            "BULKHEAD_WEBHOOK_SECRET_PREVIOUS",
        ),
        ("BULKHEAD_CA_FILE", "/nonexistent", "/nonexistent"),
        // The store is a file, which has no password.
        ("BULKHEAD_STORE_PASSWORD", "x", "BULKHEAD_STORE_PASSWORD"),
        (
            "BULKHEAD_STORE",
            "sqlite:/nonexistent/x.db",
            "/nonexistent/x.db",
        ),
    ] {
        let mut relay = Relay::prepare(StoreKind::Sqlite, &RELIABLE);
        relay.set(variable, value);
        let output = run(&["--listen", "127.0.0.1:0"], &relay.variables());
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && log.contains(needle),
            "{variable}: {log}"
        );
        assert!(!log.contains(WEBHOOK_SECRET) && !log.contains(super::KEY));
    }
}
