//! Measures whether one route blocks another: small requests while every worker decrypts messages.

use crate::compare::{milliseconds, percentile, verdict};
use crate::messages::PASSPHRASE;
use crate::process::clients;
use bulkhead_tests::fixtures::text;
use bulkhead_tests::http::request;
use bulkhead_tests::server::Server;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The requests: method, target, body.
const REQUESTS: [(&str, &str, &[u8]); 3] = [
    ("GET", "/livez", b""),
    ("GET", "/health", b""),
    ("POST", "/token", &[b'x'; 100]),
];
/// The request with a target. The target limits the ratio of its p99 with busy workers to its p99
/// on an idle server.
const TOKEN: usize = 2;
const RATIO_TARGET: f64 = 3.0;

/// The pause between two requests. A client without pauses would keep a core busy and measure its
/// own wait for the core.
const PAUSE: Duration = Duration::from_millis(1);

/// Sends requests to each route in turn, each on a new connection: first to an idle server, then
/// while all workers decrypt default messages.
pub(crate) fn measure(time: Duration) -> bool {
    let server = Server::start_with(&[], &[("SECRET", "0123456789abcdef0123456789abcdef")]);
    let idle = measure_routes(&server, time);
    let default = text("bench/default.asc");
    let (stop, opened) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut busy = None;
    std::thread::scope(|scope| {
        for _ in 0..clients() {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(server.decrypt(PASSPHRASE, &default).status, 200);
                    opened.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Every worker has finished one message, so that all are busy from here on.
        while (opened.load(Ordering::Relaxed) as usize) < clients() {
            std::thread::sleep(PAUSE);
        }
        busy = Some(measure_routes(&server, time));
        stop.store(true, Ordering::Relaxed);
    });
    let (opened, busy) = (opened.into_inner(), busy.expect("measurement should exist"));
    println!(
        "\nsmall requests while {} clients open default messages ({opened} opened); each route \
         measured {} times, in ms",
        clients(),
        idle[0].len()
    );
    println!(
        "  {:<16}{:>10}{:>10}{:>12}{:>10}{:>10}",
        "", "idle p50", "idle p99", "beside p50", "p99", "ratio p99"
    );
    let mut met = true;
    for (at, ((method, target, _), (mut idle, mut busy))) in REQUESTS
        .into_iter()
        .zip(idle.into_iter().zip(busy))
        .enumerate()
    {
        let [idle50, idle99] = [50, 99].map(|percent| percentile(&mut idle, percent));
        let [busy50, busy99] = [50, 99].map(|percent| percentile(&mut busy, percent));
        let ratio = busy99.as_secs_f64() / idle99.as_secs_f64();
        let target_met = ratio <= RATIO_TARGET;
        let verdict_text = match at {
            TOKEN => format!("  target {RATIO_TARGET}: {}", verdict(target_met)),
            _ => String::new(),
        };
        met &= at != TOKEN || target_met;
        println!(
            "  {:<16}{:>10.3}{:>10.3}{:>12.3}{:>10.3}{:>10.2}{verdict_text}",
            format!("{method} {target}"),
            milliseconds(idle50),
            milliseconds(idle99),
            milliseconds(busy50),
            milliseconds(busy99),
            ratio
        );
    }
    met
}

/// Returns the response times of each route.
fn measure_routes(server: &Server, time: Duration) -> [Vec<Duration>; REQUESTS.len()] {
    let mut times = REQUESTS.map(|_| Vec::new());
    let end = Instant::now() + time;
    while Instant::now() < end {
        for ((method, target, body), times) in REQUESTS.into_iter().zip(&mut times) {
            let start = Instant::now();
            let response = request(server.address, method, target, &[], body);
            times.push(start.elapsed());
            assert_eq!(response.status, 200);
            std::thread::sleep(PAUSE);
        }
    }
    times
}
