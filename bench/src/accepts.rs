//! How fast the relay promises: requests stored durably and answered 202, beside what the disk can do.

use crate::compare::{milliseconds, percentile, verdict};
use bulkhead_tests::http;
use bulkhead_tests::mock::MockUpstream;
use bulkhead_tests::server::Server;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Clients that ask at the same time.
const CLIENTS: usize = 64;

/// What a full store may do, in parts of what an empty one does.
const RATIO_TARGET: f64 = 0.8;
const MEMORY_TARGET_OCTETS: u64 = 200_000_000;
const START_TARGET: Duration = Duration::from_secs(2);

/// Where requests go.
struct Place {
    name: &'static str,
    store: String,
    /// On the disk of the store.
    folder: tempfile::TempDir,
}

/// What was measured.
struct Rate {
    per_second: f64,
    times: Vec<Duration>,
}

/// On `SQLite`, and on `PostgreSQL` where `BULKHEAD_TEST_POSTGRES` names one.
pub(crate) fn measure(time: Duration, backlog: u64) -> bool {
    let folder = || tempfile::tempdir_in(".").expect("a folder");
    let sqlite = folder();
    let mut places = vec![Place {
        name: "SQLite",
        store: format!("sqlite:{}", sqlite.path().join("bench.db").display()),
        folder: sqlite,
    }];
    match std::env::var("BULKHEAD_TEST_POSTGRES") {
        Ok(store) => places.push(Place {
            name: "PostgreSQL",
            store,
            folder: folder(),
        }),
        Err(_) => {
            println!("\nPostgreSQL is not measured: BULKHEAD_TEST_POSTGRES does not name one");
        }
    }
    let mut met = true;
    for place in places {
        met &= one(&place, time, backlog);
    }
    met
}

fn one(place: &Place, time: Duration, backlog: u64) -> bool {
    // Nothing is ever signed, so that what is accepted waits.
    let upstream = MockUpstream::start(&["--calls", "1"]);
    let url = upstream.url();
    let backlog_max = (backlog * 10).to_string();
    let variables = [
        ("BULKHEAD_UPSTREAM_URL", url.as_str()),
        ("BULKHEAD_UPSTREAM_API_KEY", "mock-upstream-key"),
        ("BULKHEAD_UPSTREAM_WINDOW", "24h"),
        ("BULKHEAD_UPSTREAM_CALLS", "1"),
        ("BULKHEAD_STORE", &place.store),
        ("BULKHEAD_BACKLOG_MAX", &backlog_max),
        ("BULKHEAD_CONNECTIONS_MAX", "4096"),
    ];
    let mut server = Server::start_with(&[], &variables);
    let next = AtomicU64::new(0);
    // In turns with the disk, so that what slows one down slows the other.
    let disk = syncs(place.folder.path(), time / 2);
    let mut single = accepts(server.address, 1, time, &next);
    let mut empty = accepts(server.address, CLIENTS, time, &next);
    let disk_after = syncs(place.folder.path(), time / 2);
    println!("\nrequests accepted (202, durable) on {}", place.name);
    println!("  the disk: {disk:.0} and {disk_after:.0} appends of 4 KiB with fdatasync a second");
    line("1 client", &mut single);
    line(&format!("{CLIENTS} clients, empty"), &mut empty);
    let filling = Instant::now();
    fill(server.address, backlog, &next);
    println!(
        "  filled to {backlog} messages in {:.0} s",
        filling.elapsed().as_secs_f64()
    );
    let mut full = accepts(server.address, CLIENTS, time, &next);
    line(&format!("{CLIENTS} clients, full"), &mut full);
    let ratio = full.per_second / empty.per_second;
    let resident = server.peak_resident_octets();
    drop(server);
    let start = Instant::now();
    server = Server::start_with(&[], &variables);
    while server.get("GET", "/health").json()["store"]["backlog"]
        .as_u64()
        .is_none_or(|waiting| waiting < backlog)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    let started = start.elapsed();
    let met = [
        ratio >= RATIO_TARGET,
        resident < MEMORY_TARGET_OCTETS,
        started < START_TARGET,
    ];
    println!(
        "  full to empty {ratio:.2}  target {RATIO_TARGET}: {}",
        verdict(met[0])
    );
    println!(
        "  resident at most {} MB  target {} MB: {}",
        resident / 1_000_000,
        MEMORY_TARGET_OCTETS / 1_000_000,
        verdict(met[1])
    );
    println!(
        "  start until the backlog is known {:.0} ms  target {START_TARGET:?}: {}",
        milliseconds(started),
        verdict(met[2])
    );
    met.into_iter().all(|met| met)
}

fn line(name: &str, rate: &mut Rate) {
    let [median, p99] = [50, 99].map(|percent| percentile(&mut rate.times, percent));
    println!(
        "  {name:<22}{:>9.0} a second, p50 {:.1} ms, p99 {:.1} ms",
        rate.per_second,
        milliseconds(median),
        milliseconds(p99)
    );
}

/// Appends of a page with a wait for the disk each, a second.
fn syncs(folder: &Path, time: Duration) -> f64 {
    let file = File::create(folder.join("raw")).expect("a file");
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < time {
        let at = u64::from(count) * 4096;
        file.write_all_at(&[1; 4096], at).expect("written");
        file.sync_data().expect("synced");
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

/// What so many clients get accepted in a time, each on one connection.
fn accepts(address: SocketAddr, clients: usize, time: Duration, next: &AtomicU64) -> Rate {
    let start = Instant::now();
    let end = start + time;
    let times: Vec<_> = ask(address, clients, next, || Instant::now() >= end);
    Rate {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        per_second: times.len() as f64 / start.elapsed().as_secs_f64(),
        times,
    }
}

fn fill(address: SocketAddr, to: u64, next: &AtomicU64) {
    ask(address, CLIENTS, next, || {
        next.load(Ordering::Relaxed) >= to
    });
}

fn ask(
    address: SocketAddr,
    clients: usize,
    next: &AtomicU64,
    done: impl Fn() -> bool + Sync,
) -> Vec<Duration> {
    std::thread::scope(|scope| {
        let client = || {
            let mut stream = http::connect(address);
            let mut times = Vec::new();
            while !done() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let request = format!(
                    "GET /crypto/sign?message=message-{number} HTTP/1.1\r\nHost: bench\r\n\r\n"
                );
                let start = Instant::now();
                stream.write_all(request.as_bytes()).expect("taken");
                let response = http::read(&mut stream, false).expect("an answer");
                times.push(start.elapsed());
                assert_eq!(response.status, 202, "{response:?}");
            }
            times
        };
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    })
}
