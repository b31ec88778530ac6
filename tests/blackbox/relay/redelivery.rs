//! Redelivery of notifications, and the secrets that they are signed with.

use super::{RELIABLE, Relay, StoreKind, WEBHOOK_SECRET, on_both_stores};
use bulkhead_tests::http;
use bulkhead_tests::until;
use serde_json::json;
use std::time::Instant;

on_both_stores!(
    notification_is_redelivered_on_request,
    many_redeliveries_make_few_webhooks,
    webhook_secrets_and_api_key_rotate_without_a_restart,
);

fn notification_is_redelivered_on_request(kind: StoreKind) {
    let relay = Relay::start(kind, &RELIABLE);
    relay.receiver.control(&json!({"mode": "410"}));
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 1900, "next": 1}));
    let url = relay.callback("gone");
    let id = relay.accepted("message-for-a-receiver", Some(&url));
    until("the notification is parked", || {
        relay.request(&id)["notification"]["status"] == "parked"
    });
    relay.receiver.control(&json!({"mode": "normal"}));
    let target = format!("/crypto/requests/{id}/redeliver");
    let redeliver = || http::request(relay.server().address, "POST", &target, &[], b"");
    // The first attempt may be less than a second ago.
    until("the redelivery is accepted", || redeliver().status == 202);
    let again = redeliver();
    assert_eq!(
        (again.status, again.problem().as_str()),
        (429, "redelivery_too_soon")
    );
    assert_eq!(again.header("retry-after"), Some("1"));
    until("the webhook is delivered", || {
        relay.request(&id)["notification"]["status"] == "delivered"
    });
    let deliveries = relay.receiver.deliveries();
    assert!(deliveries.len() == 2 && deliveries[0].id == deliveries[1].id);

    let (now, _) = relay.sign("answered-at-once", None);
    let id = now.json()["id"]
        .as_str()
        .expect("id should be a string")
        .to_owned();
    for (id, status) in [(id.as_str(), 409), (&"0".repeat(44), 404), ("none", 404)] {
        let target = format!("/crypto/requests/{id}/redeliver");
        let none = http::request(relay.server().address, "POST", &target, &[], b"");
        assert_eq!(none.status, status, "{none:?}");
    }
}

fn many_redeliveries_make_few_webhooks(kind: StoreKind) {
    let relay = Relay::start(kind, &RELIABLE);
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 1900, "next": 1}));
    let id = relay.accepted("message-to-repeat", Some(&relay.callback("a")));
    until("the webhook is delivered", || {
        relay.request(&id)["notification"]["status"] == "delivered"
    });
    let target = format!("/crypto/requests/{id}/redeliver");
    let start = Instant::now();
    let accepted = (0..500)
        .filter(|_| {
            let again = http::request(relay.server().address, "POST", &target, &[], b"");
            assert!(matches!(again.status, 202 | 429), "{again:?}");
            again.status == 202
        })
        .count();
    let seconds = usize::try_from(start.elapsed().as_secs()).expect("time should be short");
    assert!(accepted <= seconds + 1, "{accepted} in {seconds} s");
    until("the webhooks are delivered", || {
        relay.request(&id)["notification"]["status"] == "delivered"
    });
    assert!(relay.receiver.deliveries().len() <= accepted + 1);
}

fn webhook_secrets_and_api_key_rotate_without_a_restart(kind: StoreKind) {
    const NEW_SECRET: &str = "whsec_bmV3IHNlY3JldCBvZiAyNCBieXRlcyE=";
    let mut relay = Relay::prepare(kind, &RELIABLE);
    let [current, previous, key] = ["current", "previous", "key"].map(|name| relay.file(name));
    let write = |path, text: &str| std::fs::write(path, text).expect("file should be written");
    write(&current, NEW_SECRET);
    write(&previous, WEBHOOK_SECRET);
    write(&key, super::KEY);
    relay.variables.remove("BULKHEAD_WEBHOOK_SECRET");
    relay.variables.remove("BULKHEAD_UPSTREAM_API_KEY");
    for (name, file) in [
        ("BULKHEAD_WEBHOOK_SECRET_FILE", &current),
        ("BULKHEAD_WEBHOOK_SECRET_PREVIOUS_FILE", &previous),
        ("BULKHEAD_UPSTREAM_API_KEY_FILE", &key),
    ] {
        relay.set(name, file.to_str().expect("path should be UTF-8"));
    }
    relay.run();
    relay.wait_for_calls();
    let reload = |count: usize| {
        relay.server().signal("HUP");
        until("the files are read again", || {
            let log = relay.server().log();
            log.matches("secret files read again").count() >= count
        });
    };
    // The receiver has the old secret. It accepts a webhook that is signed with both.
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 1900, "next": 1}));
    let id = relay.accepted("message-for-a-rotation", Some(&relay.callback("a")));
    let target = format!("/crypto/requests/{id}/redeliver");
    let redeliver = || http::request(relay.server().address, "POST", &target, &[], b"");
    let last_webhook = |signatures: usize, verified: bool| {
        relay.receiver.deliveries().last().is_some_and(|last| {
            let header = last.signature.as_deref().unwrap_or_default();
            header.split(' ').count() == signatures && last.verified == Some(verified)
        })
    };
    until("both signatures arrive", || last_webhook(2, true));
    // The end of the rotation.
    std::fs::remove_file(&previous).expect("file should be removed");
    reload(1);
    until("the redelivery is accepted", || redeliver().status == 202);
    until("only the new secret signs", || last_webhook(1, false));
    write(&current, WEBHOOK_SECRET);
    reload(2);
    until("the redelivery is accepted", || redeliver().status == 202);
    until("the replaced secret signs", || last_webhook(1, true));

    let is_valid = || {
        let check = relay.server().get("GET", "/crypto/test_api_key");
        (check.status == 200).then(|| check.json()["valid"] == true)
    };
    until("the key is checked", || is_valid() == Some(true));
    write(&key, "a-key-that-is-wrong");
    reload(3);
    until("the replaced key is checked", || is_valid() == Some(false));
    // A secret that cannot be used changes nothing.
    write(&current, "not base64!");
    relay.server().signal("HUP");
    until("the failure is logged", || {
        relay
            .server()
            .log()
            .contains("cannot read secrets again, the previous secrets stay active")
    });
    until("the redelivery is accepted", || redeliver().status == 202);
    until("the webhook is delivered", || {
        relay.request(&id)["notification"]["status"] == "delivered"
    });
    assert!(last_webhook(1, true));
}
