//! One key floods the server without limits per key, and another key sends single requests.

use super::{KeyFile, file_argument, send};
use crate::relay::{Relay, StoreKind, UpstreamProfile};
use bulkhead_tests::fixtures::text;
use bulkhead_tests::http::{Response, request};
use bulkhead_tests::server::Server;
use bulkhead_tests::{soak, until};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One call at a time, so that the order of arrivals is the order of calls.
const ONE_CALL: UpstreamProfile = UpstreamProfile {
    calls: 1,
    window_ms: 1000,
    fail: "0",
    degraded: "0s..0s",
};

#[test]
fn backlog_of_one_key_delays_single_messages_of_another_by_one_call() {
    let messages = if soak() { 10_000 } else { 200 };
    let mut file = KeyFile::new();
    let [flood, single] = ["flood", "single"].map(|name| file.add(name, &["sign", "observe"]));
    file.write();
    let mut relay = Relay::prepare(StoreKind::Sqlite, &ONE_CALL);
    relay.set("BULKHEAD_ACCESS_KEYS", file_argument(&file.path()));
    relay.set("BULKHEAD_SIGN_TIMEOUT", "50ms");
    relay.run();
    let server = relay.server();
    let sign = |key: &str, message: &str| {
        send(
            server,
            key,
            "GET",
            &format!("/crypto/sign?message={message}"),
        )
    };
    std::thread::scope(|scope| {
        for first in 0..10 {
            let (sign, flood) = (&sign, &flood);
            scope.spawn(move || {
                for number in (first..messages).step_by(10) {
                    let status = sign(flood, &format!("flood-{number}")).status;
                    assert!([200, 202].contains(&status), "{status}");
                }
            });
        }
    });
    // The last two messages are also at the end of the backlog of the other key.
    let last = format!("flood-{}", messages - 1);
    let second_last = format!("flood-{}", messages - 2);
    for message in [
        "single-1",
        "single-2",
        "single-3",
        second_last.as_str(),
        last.as_str(),
    ] {
        let response = sign(&single, message);
        assert!([200, 202].contains(&response.status), "{response:?}");
        let before = relay.upstream.arrivals().len();
        let position = || {
            let arrivals = relay.upstream.arrivals();
            let is_called = |message: &str| {
                arrivals
                    .iter()
                    .position(|it| it.message.as_deref() == Some(message))
            };
            is_called(message)
        };
        until("the message is called", || position().is_some());
        let position = position().unwrap_or_default();
        assert!(
            position <= before + 1,
            "{message}: {position}, {before} calls before"
        );
    }
    let called = relay.upstream.arrivals().len();
    assert!(
        called < messages,
        "the backlog was empty after {called} calls"
    );
    relay.check_quota();
}

fn decrypt(server: &Server, key: &str, message: &str) -> (Response, Duration) {
    let authorization = format!("Bearer {key}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    let body = json!({"passphrase": "topsecret", "message": message}).to_string();
    let start = Instant::now();
    let response = request(
        server.address,
        "POST",
        "/decryptMessage",
        &headers,
        body.as_bytes(),
    );
    (response, start.elapsed())
}

/// Returns the time that this share of the requests did not exceed.
fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the number of requests is small"
    )]
    let at = (times.len() as f64 * share).ceil() as usize;
    times[at.clamp(1, times.len()) - 1]
}

#[test]
fn parallel_messages_of_one_key_do_not_delay_or_reject_single_ones_of_another() {
    let (clients, count) = if soak() { (200, 100) } else { (100, 10) };
    let mut file = KeyFile::new();
    let [flood, single] = ["flood", "single"].map(|name| file.add(name, &["decrypt"]));
    let server = file.start();
    let message = text("bench/default.asc");
    let singles = || -> Vec<Duration> {
        let times = (0..count).map(|number| {
            let (response, time) = decrypt(&server, &single, &message);
            assert_eq!(response.status, 200, "{number}: {response:?}");
            time
        });
        times.collect()
    };
    let mut alone = singles();
    let is_over = AtomicBool::new(false);
    let (mut beside, mut flooding) = std::thread::scope(|scope| {
        let flooding: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        let (response, time) = decrypt(&server, &flood, &message);
                        match response.status {
                            200 => times.push(time),
                            // The queue is full.
                            503 => std::thread::sleep(Duration::from_secs(1)),
                            _ => panic!("{response:?}"),
                        }
                    }
                    times
                })
            })
            .collect();
        until("the flood has filled the queue", || {
            decrypt(&server, &flood, &message).0.status == 503
        });
        let beside = singles();
        is_over.store(true, Ordering::Relaxed);
        let ended = flooding.into_iter();
        let times = ended.flat_map(|it| it.join().expect("thread should not panic"));
        (beside, times.collect::<Vec<_>>())
    });
    let [alone_p50, alone_p99] = [0.5, 0.99].map(|share| quantile(&mut alone, share));
    let [p50, p99] = [0.5, 0.99].map(|share| quantile(&mut beside, share));
    let flood_p50 = quantile(&mut flooding, 0.5);
    eprintln!(
        "alone: p50 {alone_p50:?}, p99 {alone_p99:?}; beside {clients} clients: p50 {p50:?}, p99 {p99:?}; \
         flood: p50 {flood_p50:?}"
    );
    assert!(p50 < flood_p50 / 2, "{p50:?} and {flood_p50:?}");
    if soak() {
        assert!(p99 <= 3 * alone_p99, "{p99:?} and {alone_p99:?}");
    }
}
