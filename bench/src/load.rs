//! Measures how many default messages are decrypted per second with many clients.

use crate::compare::{milliseconds, percentile, verdict};
use crate::messages::{self, PASSPHRASE};
use bulkhead_tests::fixtures::text;
use bulkhead_tests::http::request;
use bulkhead_tests::server::Server;
use serde_json::json;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The number of clients, and the minimum speed of the server: relative to gunicorn, and relative
/// to itself without vector paths.
const LOADS: [(usize, f64, Option<f64>); 2] = [(8, 4.0, None), (32, 8.0, Some(2.5))];

/// The number of turns of each contestant.
const TURNS: usize = 3;

/// The number of clients with small messages in the mix.
const SMALL_CLIENTS: usize = 2;
/// The maximum ratio of their p99 beside default messages to their p99 alone.
const MIX_TARGET: f64 = 3.0;

/// gunicorn with Flask and python-gnupg. The process is killed when this value is dropped.
struct Gunicorn {
    process: Child,
    address: SocketAddr,
}

impl Gunicorn {
    /// Starts two workers with the packages that bench/run.sh installs. Returns `None` if they are
    /// not installed.
    fn start(packages: &Path) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port should be free");
        let address = free.local_addr().expect("socket should be bound");
        drop(free);
        if !packages.join("gunicorn").is_dir() {
            return None;
        }
        let process = Command::new("python3")
            .args(["-m", "gunicorn", "--workers", "2", "--log-level", "error"])
            .args([
                "--bind",
                &address.to_string(),
                "--timeout",
                "300",
                "--chdir",
            ])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/gunicorn"))
            .arg("app:app")
            .env("PYTHONPATH", packages)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if started.elapsed() > Duration::from_secs(20) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self { process, address })
    }
}

impl Drop for Gunicorn {
    fn drop(&mut self) {
        // gunicorn ends its workers only after SIGTERM.
        let id = self.process.id().to_string();
        let _asked = Command::new("kill").arg(id).status();
        let _ended = self.process.wait();
    }
}

/// Returns requests per second. Each client sends its next request after the response to the last
/// one.
fn rate(address: SocketAddr, body: &str, clients: usize, time: Duration) -> f64 {
    let answered = AtomicU32::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while start.elapsed() < time {
                    post(address, body);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    f64::from(answered.into_inner()) / start.elapsed().as_secs_f64()
}

fn post(address: SocketAddr, body: &str) {
    let json = [("content-type", "application/json")];
    let response = request(address, "POST", "/decryptMessage", &json, body.as_bytes());
    assert_eq!(response.json()["DecryptedMessage"], "Nice work!\n");
}

fn body(message: &str) -> String {
    json!({"passphrase": PASSPHRASE, "message": message}).to_string()
}

/// Measures default messages in requests per second. Returns whether all targets were met.
pub(crate) fn measure(packages: &Path, time: Duration) -> bool {
    let lanes = Server::start(&[]);
    let plain = Server::start(&["--kdf-path", "plain"]);
    let gunicorn = Gunicorn::start(packages);
    let mut contestants = vec![
        ("Bulkhead", lanes.address),
        ("Bulkhead, --kdf-path plain", plain.address),
    ];
    match &gunicorn {
        Some(gunicorn) => contestants.push(("gunicorn, 2 workers", gunicorn.address)),
        None => println!("\ngunicorn, Flask and python-gnupg cannot be started: not measured"),
    }
    let default = body(&text("bench/default.asc"));
    let mut met = true;
    for (clients, against_gunicorn, against_plain) in LOADS {
        let mut rates = vec![Vec::new(); contestants.len()];
        for _ in 0..TURNS {
            for ((_, address), rates) in contestants.iter().zip(&mut rates) {
                rates.push(rate(*address, &default, clients, time));
            }
        }
        println!("\ndefault messages, {clients} clients ({TURNS} turns of {time:?} each)");
        println!(
            "  {:<34}{:>12}{:>22}",
            "", "requests/s", "Bulkhead is faster by"
        );
        let medians: Vec<_> = rates.into_iter().map(median).collect();
        let targets = [None, against_plain, Some(against_gunicorn)];
        for ((name, _), (rate, target)) in contestants.iter().zip(medians.iter().zip(targets)) {
            let ratio = medians[0] / rate;
            let verdict_text = target.map_or(String::new(), |target| {
                met &= ratio >= target;
                format!("  target {target}: {}", verdict(ratio >= target))
            });
            println!("  {name:<34}{rate:>12.1}{ratio:>22.2}{verdict_text}");
        }
    }
    met
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Measures small messages alone, and while another client decrypts default messages. Returns
/// whether the target was met.
pub(crate) fn mix(time: Duration) -> bool {
    let scratch = tempfile::tempdir().expect("temporary directory should be created");
    let small = body(&messages::small(scratch.path()));
    let default = body(&text("bench/default.asc"));
    let server = Server::start(&[]);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut opened = 0;
    for _ in 0..TURNS {
        alone.extend(small_ones(server.address, &small, time));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let large = scope.spawn(|| {
                let mut opened = 0;
                while !stop.load(Ordering::Relaxed) {
                    post(server.address, &default);
                    opened += 1;
                }
                opened
            });
            beside.extend(small_ones(server.address, &small, time));
            stop.store(true, Ordering::Relaxed);
            opened += large.join().expect("thread should not panic");
        });
    }
    println!(
        "\nsmall messages (65,536 bytes twice), {SMALL_CLIENTS} clients, alone and beside one with \
         default messages ({opened} opened), in ms"
    );
    println!("  {:<10}{:>8}{:>10}{:>10}", "", "opened", "p50", "p99");
    let mut p99s = Vec::new();
    for (name, times) in [("alone", &mut alone), ("beside", &mut beside)] {
        let [p50, p99] = [50, 99].map(|percent| milliseconds(percentile(times, percent)));
        println!("  {name:<10}{:>8}{p50:>10.3}{p99:>10.3}", times.len());
        p99s.push(p99);
    }
    let ratio = p99s[1] / p99s[0];
    println!(
        "  p99 ratio {ratio:.2}  target {MIX_TARGET}: {}",
        verdict(ratio <= MIX_TARGET)
    );
    ratio <= MIX_TARGET
}

fn small_ones(address: SocketAddr, body: &str, time: Duration) -> Vec<Duration> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let client = || {
            let mut times = Vec::new();
            while start.elapsed() < time {
                let start_of_request = Instant::now();
                post(address, body);
                times.push(start_of_request.elapsed());
            }
            times
        };
        let clients: Vec<_> = (0..SMALL_CLIENTS).map(|_| scope.spawn(client)).collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("thread should not panic"))
            .collect()
    })
}
