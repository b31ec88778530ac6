//! Many concurrent connections with mixed traffic.

use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::http::{connect, read};
use bulkhead_tests::server::Server;
use bulkhead_tests::until;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 200;
/// The connections that decrypt. They are fewer than the queue holds, so that no request is
/// rejected.
const DECRYPTING: usize = 20;
const TIME: Duration = Duration::from_secs(3);
const TIME_SOAK: Duration = Duration::from_secs(30);

/// Returns the requests of one connection: method, target, body.
fn requests(connection: usize) -> Vec<(&'static str, &'static str, String)> {
    if connection < DECRYPTING {
        let body = json!({"passphrase": "topsecret", "message": SAMPLE}).to_string();
        return vec![("POST", "/decryptMessage", body)];
    }
    // Small bodies are handled on the I/O thread, large ones on a worker.
    let body = "x".repeat(if connection.is_multiple_of(10) {
        100_000
    } else {
        connection
    });
    vec![
        ("POST", "/token", body.clone()),
        ("GET", "/livez", String::new()),
        ("POST", "/token", body),
        ("GET", "/health", String::new()),
        ("GET", "/metrics", String::new()),
    ]
}

/// Sends requests until `end`. Returns the number of requests per target. All of them must get 200.
fn client(server: &Server, connection: usize, end: Instant) -> BTreeMap<&'static str, u64> {
    let mut stream = connect(server.address);
    let mut sent = BTreeMap::new();
    while Instant::now() < end {
        for (method, target, body) in requests(connection) {
            let head = format!(
                "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream
                .write_all(head.as_bytes())
                .expect("data should be sent");
            stream
                .write_all(body.as_bytes())
                .expect("data should be sent");
            let response = read(&mut stream, false).expect("response should arrive");
            assert_eq!(response.status, 200, "{target}: {response:?}");
            *sent.entry(target).or_default() += 1;
        }
    }
    sent
}

/// No error, no lost count, and no leaked memory or descriptor.
#[test]
fn mixed_traffic_of_200_connections_leaves_nothing_behind() {
    let soak = bulkhead_tests::soak();
    let server = Server::start_with(
        &[],
        &[
            ("SECRET", "0123456789abcdef0123456789abcdef"),
            // Hundreds of thousands of requests are too many for a log at trace level.
            ("BULKHEAD_LOG", "info"),
            ("BULKHEAD_ACCESS_LOG", "off"),
        ],
    );
    let time = if soak { TIME_SOAK } else { TIME };
    let burst = |time| {
        let end = Instant::now() + time;
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CONNECTIONS)
                .map(|connection| {
                    scope.spawn({
                        let server = &server;
                        move || client(server, connection, end)
                    })
                })
                .collect();
            let mut sent = BTreeMap::<_, u64>::new();
            for client in clients {
                for (target, count) in client.join().expect("thread should not panic") {
                    *sent.entry(target).or_default() += count;
                }
            }
            sent
        })
    };
    // The first burst creates what is created once: buffers of threads, slots, tables.
    let mut sent = burst(Duration::from_millis(500));
    // The request for the metrics is a connection too.
    let at_rest = || server.sum("bulkhead_http_connections", &[]) <= 1;
    until("the connections are closed", at_rest);
    let (memory, descriptors) = (server.resident_bytes(), server.descriptors());
    for (target, count) in burst(time) {
        *sent.entry(target).or_default() += count;
    }
    until("the connections are closed", at_rest);
    for (target, count) in sent {
        assert!(count > 0);
        if target != "/metrics" {
            let counted = server.sum("bulkhead_http_requests_total", &[("route", target)]);
            assert_eq!(counted, count, "{target}");
        }
    }
    until("the descriptors are closed", || {
        server.descriptors() <= descriptors
    });
    let grown = server.resident_bytes().saturating_sub(memory);
    assert!(
        grown < 16 << 20,
        "memory should not grow by {} MiB",
        grown >> 20
    );
}
