//! Calls carry the `traceparent` of their request (W3C Trace Context).

use super::{RELIABLE, Relay, StoreKind, on_both_stores};
use bulkhead_tests::http;
use bulkhead_tests::mock::Outcome;
use bulkhead_tests::until;
use serde_json::json;

on_both_stores!(traceparent_is_forwarded_to_upstream_and_receivers);

fn trace(number: u8) -> String {
    format!("00-0af7651916cd43dd8448eb211c8031{number:02x}-b7ad6b7169203331-01")
}

fn traceparent_is_forwarded_to_upstream_and_receivers(kind: StoreKind) {
    let mut relay = Relay::prepare(kind, &RELIABLE);
    relay.set("BULKHEAD_ACCESS_LOG", "on");
    relay.run();
    relay.wait_for_calls();
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 1900, "next": 1}));
    let (sign, first, second) = (
        |path: &str| {
            let url = relay.callback(path);
            format!("/crypto/sign?message=a+traced+message&callback_url={url}")
        },
        trace(1),
        trace(2),
    );
    let (a, b, c) = (sign("a"), sign("b"), sign("c"));
    std::thread::scope(|scope| {
        let relay = &relay;
        let caller = scope.spawn(|| get(relay, &a, &[("TraceParent", &first)]));
        // The first request determines the trace of the call.
        until("the call arrives", || {
            relay.upstream.summary().arrivals == 1
        });
        let joined = [
            (&b, vec![("traceparent", second.as_str())]),
            // Two headers count as none.
            (&c, vec![("traceparent", &first), ("traceparent", &second)]),
        ];
        let joined =
            joined.map(|(target, headers)| scope.spawn(move || get(relay, target, &headers)));
        assert_eq!(caller.join().expect("thread should not panic").status, 202);
        for caller in joined {
            assert!(caller.join().expect("thread should not panic").status < 300);
        }
    });
    until("the first caller is notified", || {
        !relay.receiver.deliveries().is_empty()
    });
    for notification in relay.receiver.deliveries() {
        let expected = match notification.path.as_str() {
            "/a" => Some(first.clone()),
            "/b" => Some(second.clone()),
            _ => None,
        };
        assert_eq!(notification.traceparent, expected, "{}", notification.path);
    }
    let third = trace(3);
    outlives_the_process(&mut relay, &third);

    // Verification calls carry it too. A request without a valid header causes a call without one.
    let fourth = trace(4);
    let verify = "/crypto/verify?message=never+signed&signature=AAAA";
    get(&relay, verify, &[("traceparent", &fourth)]);
    get(
        &relay,
        "/crypto/sign?message=untraced",
        &[("traceparent", "00-1-2-3")],
    );
    until("both calls arrive", || relay.upstream.arrivals().len() >= 4);
    let id = &fourth[3..35];
    until("the log contains the trace", || {
        relay
            .server()
            .log()
            .contains(&format!(r#""trace.id":"{id}""#))
    });
    for call in relay.upstream.arrivals() {
        let expected = match call.message.as_deref() {
            Some("a traced message") => Some(first.as_str()),
            Some("kept") => Some(third.as_str()),
            Some("never signed") => Some(fourth.as_str()),
            _ => None,
        };
        assert_eq!(call.traceparent.as_deref(), expected, "{call:?}");
    }
}

fn get(relay: &Relay, target: &str, headers: &[(&str, &str)]) -> http::Response {
    http::request(relay.server().address, "GET", target, headers, b"")
}

/// The store keeps the header across a restart.
fn outlives_the_process(relay: &mut Relay, trace: &str) {
    relay
        .receiver
        .control(&json!({"mode": "503", "path": "/kept", "next": 1}));
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 1900, "next": 1}));
    let url = relay.callback("kept");
    let target = format!("/crypto/sign?message=kept&callback_url={url}");
    let waits = get(relay, &target, &[("traceparent", trace)]);
    assert_eq!(waits.status, 202, "{waits:?}");
    let kept = |relay: &Relay| {
        let deliveries = relay.receiver.deliveries().into_iter();
        deliveries
            .filter(|notification| notification.path == "/kept")
            .collect::<Vec<_>>()
    };
    let id = waits.json()["id"]
        .as_str()
        .expect("id should be a string")
        .to_owned();
    until("the attempt is stored", || {
        relay.request(&id)["notification"]["attempts"] == 1
    });
    relay.server = None;
    relay.run();
    until("the webhook is delivered", || {
        kept(relay)
            .iter()
            .any(|notification| notification.status == Outcome::Answered(204))
    });
    for notification in kept(relay) {
        assert_eq!(notification.traceparent.as_deref(), Some(trace));
    }
}
