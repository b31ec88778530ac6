//! Measures the server as a process: start-up time and memory.

use crate::compare::{milliseconds, percentile, verdict};
use crate::messages::{self, PASSPHRASE};
use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::server::Server;
use std::time::{Duration, Instant};

const START_TARGET: Duration = Duration::from_millis(150);
const IDLE_TARGET_BYTES: u64 = 60_000_000;

/// Clients per worker. More than one, so that the queue is never empty.
const CLIENTS_A_WORKER: usize = 2;

/// Measures the time from the start of the process to the first decrypted sample.
pub(crate) fn start(rounds: u32) -> bool {
    let mut times: Vec<_> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            let server = Server::start(&[]);
            assert_eq!(server.decrypt(PASSPHRASE, SAMPLE).status, 200);
            start.elapsed()
        })
        .collect();
    let [median, p90] = [50, 90].map(|percent| percentile(&mut times, percent));
    println!("\nstart to first answer, the sample opened ({rounds} starts)");
    println!(
        "  median {:.1} ms, p90 {:.1} ms  target {START_TARGET:?}: {}",
        milliseconds(median),
        milliseconds(p90),
        verdict(median <= START_TARGET)
    );
    median <= START_TARGET
}

/// Measures resident memory before the first request, after one, and with large messages on every
/// worker.
pub(crate) fn memory() -> bool {
    let server = Server::start(&[]);
    assert_eq!(server.get("GET", "/livez").status, 200);
    let idle = server.resident_bytes();
    assert_eq!(server.decrypt(PASSPHRASE, SAMPLE).status, 200);
    let after_one = server.resident_bytes();
    let scratch = tempfile::tempdir().expect("temporary directory should be created");
    let messages = messages::all(scratch.path());
    let large = messages
        .iter()
        .max_by_key(|message| message.text.len())
        .expect("there should be messages");
    std::thread::scope(|scope| {
        for _ in 0..clients() {
            scope.spawn(|| {
                for _ in 0..8 {
                    assert_eq!(server.decrypt(PASSPHRASE, &large.text).status, 200);
                }
            });
        }
    });
    let (peak, after) = (server.peak_resident_bytes(), server.resident_bytes());
    let met = idle <= IDLE_TARGET_BYTES;
    println!("\nresident memory, MB");
    println!(
        "  idle {:.1}  target {}: {}",
        mb(idle),
        IDLE_TARGET_BYTES / 1_000_000,
        verdict(met)
    );
    println!("  after one sample {:.1}", mb(after_one));
    println!(
        "  peak with {} clients sending 10 MB messages {:.1}, afterwards {:.1}",
        clients(),
        mb(peak),
        mb(after)
    );
    met
}

pub(crate) fn clients() -> usize {
    CLIENTS_A_WORKER * std::thread::available_parallelism().map_or(1, usize::from)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "memory sizes are far below 2^52"
)]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
