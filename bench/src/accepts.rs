//! Measures how many requests the relay stores and accepts with 202 per second, compared with the
//! speed of the disk.

use crate::compare::{milliseconds, percentile, verdict};
use bulkhead_tests::http;
use bulkhead_tests::mock::MockUpstream;
use bulkhead_tests::postgres::Schema;
use bulkhead_tests::server::Server;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The number of concurrent clients.
const CLIENTS: usize = 64;

/// The minimum rate with a full store, relative to an empty one.
const RATIO_TARGET: f64 = 0.8;
const MEMORY_TARGET_BYTES: u64 = 200_000_000;
const START_TARGET: Duration = Duration::from_secs(2);

/// The number of rounds. Each round measures a fresh store and the full one in turn, so that a slow
/// phase of the machine affects both.
const ROUNDS: usize = 3;

/// The store to measure.
enum StoreChoice {
    Sqlite,
    /// In the database with this URL.
    Postgres(String),
}

/// An unused store.
struct Fresh {
    url: String,
    /// On the disk of the store, if the store is `SQLite`.
    folder: tempfile::TempDir,
    _schema: Option<Schema>,
}

impl StoreChoice {
    fn fresh(&self) -> Fresh {
        // The folder for temporary files may be in memory, so that this one is beside the program.
        let program = std::env::current_exe().expect("path of this program should be known");
        let beside = program.parent().expect("program should be in a folder");
        let folder = tempfile::tempdir_in(beside).expect("folder should be accessible");
        let schema = match self {
            Self::Sqlite => None,
            Self::Postgres(database) => Some(Schema::new(database)),
        };
        Fresh {
            url: schema.as_ref().map_or_else(
                || format!("sqlite:{}", folder.path().join("bench.db").display()),
                |schema| schema.url.clone(),
            ),
            folder,
            _schema: schema,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }
}

/// A measurement.
struct Rate {
    per_second: f64,
    /// The times of accepted requests.
    times: Vec<Duration>,
    /// The number of requests that got 503.
    rejections: usize,
}

/// Measures `SQLite`, and `PostgreSQL` if `BULKHEAD_TEST_POSTGRES` is set. Returns whether all
/// targets were met.
pub(crate) fn measure(time: Duration, backlog: u64) -> bool {
    let mut met = one(&StoreChoice::Sqlite, time, backlog);
    match std::env::var("BULKHEAD_TEST_POSTGRES") {
        Ok(database) => met &= one(&StoreChoice::Postgres(database), time, backlog),
        Err(_) => {
            println!("\nPostgreSQL is not measured: BULKHEAD_TEST_POSTGRES is not set");
        }
    }
    met
}

fn one(store_choice: &StoreChoice, time: Duration, backlog: u64) -> bool {
    // The upstream signs nothing, so that accepted requests stay in the backlog.
    let upstream = MockUpstream::start(&["--calls", "1"]);
    let upstream_url = upstream.url();
    let backlog_max = (backlog * 10).to_string();
    let start = |store: &Fresh| {
        let variables = [
            ("BULKHEAD_UPSTREAM_URL", upstream_url.as_str()),
            ("BULKHEAD_UPSTREAM_API_KEY", "mock-upstream-key"),
            ("BULKHEAD_UPSTREAM_WINDOW", "24h"),
            ("BULKHEAD_UPSTREAM_CALLS", "1"),
            ("BULKHEAD_STORE", &store.url),
            ("BULKHEAD_BACKLOG_MAX", &backlog_max),
            ("BULKHEAD_CONNECTIONS_MAX", "4096"),
        ];
        Server::start_with(&[], &variables)
    };
    println!(
        "\nrequests accepted (202, durable) on {}",
        store_choice.name()
    );
    let full_store = store_choice.fresh();
    let full_server = start(&full_store);
    let next = AtomicU64::new(0);
    line(
        "1 client, empty",
        accepts(full_server.address, 1, time, &next),
    );
    let filling = Instant::now();
    let rejections = fill(full_server.address, backlog, &next);
    println!(
        "  filled to {backlog} messages in {:.0} s, {rejections} rejections",
        filling.elapsed().as_secs_f64()
    );
    line(
        "1 client, full",
        accepts(full_server.address, 1, time, &next),
    );
    let ratio = full_to_empty(store_choice, &start, &full_server, time, &next);
    let resident = full_server.peak_resident_bytes();
    drop(full_server);
    let starting = Instant::now();
    let server = start(&full_store);
    while server.get("GET", "/health").json()["store"]["backlog"]
        .as_u64()
        .is_none_or(|waiting| waiting < backlog)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    let started = starting.elapsed();
    let met = [
        ratio >= RATIO_TARGET,
        resident < MEMORY_TARGET_BYTES,
        started < START_TARGET,
    ];
    println!(
        "  full to empty {ratio:.2} (median)  target {RATIO_TARGET}: {}",
        verdict(met[0])
    );
    println!(
        "  resident at most {} MB  target {} MB: {}",
        resident / 1_000_000,
        MEMORY_TARGET_BYTES / 1_000_000,
        verdict(met[1])
    );
    println!(
        "  start until the backlog is known {:.0} ms  target {START_TARGET:?}: {}",
        milliseconds(started),
        verdict(met[2])
    );
    met.into_iter().all(|met| met)
}

/// Returns the median ratio of all rounds.
fn full_to_empty(
    store_choice: &StoreChoice,
    start: &impl Fn(&Fresh) -> Server,
    full: &Server,
    time: Duration,
    next: &AtomicU64,
) -> f64 {
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let fresh = store_choice.fresh();
        let server = start(&fresh);
        let disk = syncs(fresh.folder.path(), time / 5);
        println!("  the disk: {disk:.0} appends of 4 KiB with fdatasync per second");
        let [empty, full] = [("empty", &server), ("full", full)].map(|(name, server)| {
            let rate = accepts(server.address, CLIENTS, time, next);
            let per_second = rate.per_second;
            line(&format!("{CLIENTS} clients, {name}"), rate);
            per_second
        });
        ratios.push(full / empty);
    }
    ratios.sort_by(f64::total_cmp);
    ratios[ROUNDS / 2]
}

fn line(name: &str, mut rate: Rate) {
    let [median, p99] = [50, 99].map(|percent| percentile(&mut rate.times, percent));
    let rejections = match rate.rejections {
        0 => String::new(),
        rejections => format!(", {rejections} rejections"),
    };
    println!(
        "  {name:<22}{:>9.0} per second, p50 {:.1} ms, p99 {:.1} ms{rejections}",
        rate.per_second,
        milliseconds(median),
        milliseconds(p99)
    );
}

/// Returns the number of 4 KiB appends with `fdatasync` per second.
fn syncs(folder: &Path, time: Duration) -> f64 {
    let file = File::create(folder.join("raw")).expect("file should be accessible");
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < time {
        let at = u64::from(count) * 4096;
        file.write_all_at(&[1; 4096], at)
            .expect("file should be written");
        file.sync_data().expect("file should be synced");
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

/// Sends requests for `time`, with one connection per client.
fn accepts(address: SocketAddr, clients: usize, time: Duration, next: &AtomicU64) -> Rate {
    let start = Instant::now();
    let end = start + time;
    let (times, rejections) = send_requests(address, clients, next, || Instant::now() >= end);
    Rate {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        per_second: times.len() as f64 / start.elapsed().as_secs_f64(),
        times,
        rejections,
    }
}

/// Sends requests until the backlog has `to` messages. Returns the number of rejections.
fn fill(address: SocketAddr, to: u64, next: &AtomicU64) -> usize {
    let (_times, rejections) = send_requests(address, CLIENTS, next, || {
        next.load(Ordering::Relaxed) >= to
    });
    rejections
}

/// Returns the time of each accepted request and the number of rejections. Clients repeat each
/// message until it is accepted.
fn send_requests(
    address: SocketAddr,
    clients: usize,
    next: &AtomicU64,
    done: impl Fn() -> bool + Sync,
) -> (Vec<Duration>, usize) {
    std::thread::scope(|scope| {
        let client = || {
            let mut stream = http::connect(address);
            let mut times = Vec::new();
            let mut rejections = 0;
            while !done() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let request = format!(
                    "GET /crypto/sign?message=message-{number} HTTP/1.1\r\nHost: localhost\r\n\r\n"
                );
                loop {
                    let start = Instant::now();
                    stream
                        .write_all(request.as_bytes())
                        .expect("data should be sent");
                    let response = http::read(&mut stream, false).expect("response should arrive");
                    if response.status == 202 {
                        times.push(start.elapsed());
                        break;
                    }
                    assert_eq!(response.status, 503, "{response:?}");
                    rejections += 1;
                }
            }
            (times, rejections)
        };
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        let mut all = (Vec::new(), 0);
        for thread in threads {
            let (times, rejections) = thread.join().expect("thread should not panic");
            all.0.extend(times);
            all.1 += rejections;
        }
        all
    })
}
