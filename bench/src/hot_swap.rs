//! Measures the cost of swapping a component under load: the time until the new component responds,
//! and the response times while it is compiled.

use crate::compare::{milliseconds, percentile, verdict};
use bulkhead_test_components::TRIAL;
use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::http::request;
use bulkhead_tests::server::Server;
use bulkhead_wasm::DECRYPT;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The maximum time from the move of the file to the first response of its component.
const LATENCY_TARGET: Duration = Duration::from_secs(5);

/// The maximum ratio of the p99 during compilation to the p99 without.
const RATIO_TARGET: f64 = 2.0;

/// The pause between two requests of a client. Clients without pauses would keep the processors
/// busy and measure their own load.
const PAUSE: Duration = Duration::from_millis(2);

/// The number of alternations between phases with and without compilation.
const ROUNDS: usize = 5;

/// A kind of request that is sent continuously.
struct Kind {
    name: &'static str,
    clients: usize,
    send: fn(&Server),
}

/// On a machine with two processors, the last kind leaves no idle processor for the compiler.
const KINDS: [Kind; 3] = [
    Kind {
        name: "POST /token",
        clients: 1,
        send: |server| {
            let response = request(server.address, "POST", "/token", &[], &[b'x'; 100]);
            assert_eq!(response.status, 200, "{response:?}");
        },
    },
    Kind {
        name: "POST /decryptMessage",
        clients: 1,
        send: decrypt,
    },
    Kind {
        name: "the same, 2 clients",
        clients: 2,
        send: decrypt,
    },
];

fn decrypt(server: &Server) {
    let response = server.decrypt("topsecret", SAMPLE);
    assert_eq!(response.status, 200, "{response:?}");
}

pub(crate) fn measure(time: Duration) -> bool {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let components = folder.path().join("components");
    std::fs::create_dir(&components).expect("folder should be created");
    let server = Server::start_with(
        &[],
        &[
            ("SECRET", "0123456789abcdef0123456789abcdef"),
            (
                "BULKHEAD_COMPONENTS_DIR",
                components.to_str().expect("text should be UTF-8"),
            ),
            ("BULKHEAD_COMPONENT_HEADER", "on"),
        ],
    );
    let mut latencies = latencies(&server, folder.path());
    let [median, max] = [50, 100].map(|percent| percentile(&mut latencies, percent));
    let in_time = max <= LATENCY_TARGET;
    println!(
        "\nexchanging components: from the move of the file to its first response {:.0} ms (median), \
         {:.0} ms at most, of {}  target {LATENCY_TARGET:?}: {}",
        milliseconds(median),
        milliseconds(max),
        latencies.len(),
        verdict(in_time)
    );
    println!(
        "  {:<24}{:>10}{:>10}{:>14}{:>10}{:>10}",
        "in ms", "p50", "p99", "compiling p50", "p99", "ratio p99"
    );
    let mut met = in_time;
    for kind in KINDS {
        let [mut quiet, mut busy] = beside(&server, folder.path(), &kind, time);
        let [quiet50, quiet99] = [50, 99].map(|percent| percentile(&mut quiet, percent));
        let [busy50, busy99] = [50, 99].map(|percent| percentile(&mut busy, percent));
        let ratio = busy99.as_secs_f64() / quiet99.as_secs_f64();
        met &= ratio <= RATIO_TARGET;
        println!(
            "  {:<24}{:>10.2}{:>10.2}{:>14.2}{:>10.2}{ratio:>10.2}  target {RATIO_TARGET}: {}",
            kind.name,
            milliseconds(quiet50),
            milliseconds(quiet99),
            milliseconds(busy50),
            milliseconds(busy99),
            verdict(ratio <= RATIO_TARGET)
        );
    }
    met
}

/// Returns the latencies of twenty editions of a token component.
fn latencies(server: &Server, folder: &Path) -> Vec<Duration> {
    (1..=20)
        .map(|number| {
            let start = put(folder, "token.wasm", &trial::edition(TRIAL, number));
            let version = trial::version(number);
            loop {
                let response = request(server.address, "POST", "/token", &[], trial::WHICH);
                if response.json()["token"] == version {
                    return start.elapsed();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        })
        .collect()
}

/// Moves a file into the folder. Returns the time of the move.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> Instant {
    let temporary = folder.join("temporary");
    std::fs::write(&temporary, bytes).expect("file should be written");
    let start = Instant::now();
    std::fs::rename(temporary, folder.join("components").join(name)).expect("file should be moved");
    start
}

/// Returns the decrypt component with a custom section at its end, so that its checksum is new.
fn decrypt_edition(number: u64) -> Vec<u8> {
    let mut wasm = DECRYPT.to_vec();
    let name = b"edition";
    // A custom section: id 0, length, length of its name, name, content.
    wasm.extend([0, 1 + 7 + 8, 7]);
    wasm.extend(name);
    wasm.extend(number.to_be_bytes());
    wasm
}

/// Returns the response times without compilation, and while one component after the other is
/// compiled.
fn beside(server: &Server, folder: &Path, kind: &Kind, time: Duration) -> [Vec<Duration>; 2] {
    static EDITION: AtomicU64 = AtomicU64::new(1);
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let span = time / u32::try_from(2 * ROUNDS).unwrap_or(1);
        all[0].extend(send(server, kind, span));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let number = EDITION.fetch_add(1, Ordering::Relaxed);
                    let before = in_force(server);
                    put(folder, "decrypt.wasm", &decrypt_edition(number));
                    while !stop.load(Ordering::Relaxed) && in_force(server) == before {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            });
            all[1].extend(send(server, kind, span));
            stop.store(true, Ordering::Relaxed);
        });
    }
    all
}

/// Returns the checksum of the active decrypt component.
fn in_force(server: &Server) -> String {
    let health = server.get("GET", "/health").json();
    health["components"][0]["sha256"].to_string()
}

fn send(server: &Server, kind: &Kind, time: Duration) -> Vec<Duration> {
    let end = Instant::now() + time;
    let client = || {
        let mut times = Vec::new();
        while Instant::now() < end {
            let start = Instant::now();
            (kind.send)(server);
            times.push(start.elapsed());
            std::thread::sleep(PAUSE);
        }
        times
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..kind.clients).map(|_| scope.spawn(client)).collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("thread should not panic"))
            .collect()
    })
}
