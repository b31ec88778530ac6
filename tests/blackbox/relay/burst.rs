//! More requests than the quota allows: all get a response in time, and all are signed in the end.

use super::{RESPONSE_TIME_MAX, Relay, StoreKind, UNRELIABLE, UpstreamProfile, on_both_stores};
use bulkhead_tests::{soak, until_within};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

on_both_stores!(
    burst_of_60_is_answered_in_time_and_signed,
    responses_arrive_in_time_during_upstream_faults,
    rate_of_100_per_second_is_answered_in_time,
);

fn burst_of_60_is_answered_in_time_and_signed(kind: StoreKind) {
    const MESSAGES: usize = 60;
    let profile = UpstreamProfile {
        calls: 10,
        window_ms: if soak() { 6000 } else { 2000 },
        ..UNRELIABLE
    };
    let relay = Relay::start(kind, &profile);
    let ids = sign_all(&relay, MESSAGES, "burst");
    let waiting: BTreeSet<_> = ids.into_iter().flatten().collect();
    assert!(
        waiting.len() >= MESSAGES - 10,
        "the quota allows ten signatures at once"
    );
    let timeout = Duration::from_secs(if soak() { 300 } else { 100 });
    until_within(timeout, "all requests are signed", || {
        relay.upstream.summary().signed_messages == MESSAGES
    });
    until_within(Duration::from_secs(20), "all requests are notified", || {
        relay.notified_ids().is_superset(&waiting)
    });
    // No request is notified twice, and none that got 200.
    assert_eq!(relay.receiver.deliveries().len(), waiting.len());
    relay.check_quota();
}

/// Sends `messages` requests at once. Returns the id of each request that got 202.
fn sign_all(relay: &Relay, messages: usize, name: &str) -> Vec<Option<String>> {
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..messages)
            .map(|number| {
                scope.spawn(move || {
                    let url = relay.callback(&format!("{name}/{number}"));
                    let message = format!("message-{name}-{number}");
                    let (response, took) = relay.sign(&message, Some(&url));
                    assert!(took < RESPONSE_TIME_MAX, "{took:?}");
                    match response.status {
                        200 => None,
                        202 => response.json()["id"].as_str().map(str::to_owned),
                        _ => panic!("{response:?}"),
                    }
                })
            })
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().expect("thread should not panic"))
            .collect()
    })
}

fn responses_arrive_in_time_during_upstream_faults(kind: StoreKind) {
    let relay = Relay::start(kind, &UNRELIABLE);
    for mode in [
        "hang", "reset", "drip", "garbage", "half", "429", "refuse", "html-200",
    ] {
        relay
            .upstream
            .control(&json!({"mode": mode, "delay_ms": 1000}));
        let ids = sign_all(&relay, 20, mode);
        assert!(
            ids.iter().all(Option::is_some),
            "{mode}: no message should be signed"
        );
        relay.upstream.control(&json!({"mode": "normal"}));
    }
    relay.check_quota();
}

/// 6,000 per minute, at times that do not depend on the responses.
fn rate_of_100_per_second_is_answered_in_time(kind: StoreKind) {
    const CLIENTS: usize = 250;
    const PACE: Duration = Duration::from_millis(10);
    let requests: u32 = if soak() { 6000 } else { 200 };
    let relay = Relay::start(kind, &UNRELIABLE);
    let mut slowest = Duration::ZERO;
    for mode in ["hang", "reset", "drip", "garbage"] {
        relay
            .upstream
            .control(&json!({"mode": mode, "delay_ms": 1000}));
        let (next, start) = (AtomicU32::new(0), Instant::now());
        let client = || {
            let mut slowest = Duration::ZERO;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return slowest;
                }
                let at = start + PACE * number;
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                let (response, took) = relay.sign(&format!("message-{mode}-{number}"), None);
                assert_eq!(response.status, 202, "{response:?}");
                slowest = slowest.max(took);
            }
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            for client in clients {
                slowest = slowest.max(client.join().expect("thread should not panic"));
            }
        });
        relay.upstream.control(&json!({"mode": "normal"}));
    }
    eprintln!("the slowest of {requests} responses per fault took {slowest:?}");
    assert!(slowest < RESPONSE_TIME_MAX, "{slowest:?}");
    relay.check_quota();
}
