//! SIGKILL at random times and at named points: no accepted request is lost, the quota holds, and
//! receivers are notified repeated only after a kill.

use super::{Relay, StoreKind, UNRELIABLE, UpstreamProfile, on_both_stores};
use bulkhead_tests::http;
use bulkhead_tests::{soak, until_within};
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 16;

on_both_stores!(accepted_requests_survive_kills_at_any_point);

/// The names in the relay's `Point::ALL`.
const POINTS: [&str; 7] = [
    "accepted",
    "claimed",
    "called",
    "finished",
    "notification-claimed",
    "notified",
    "notification-finished",
];

/// The number of requests that each process gets before it dies.
const REQUESTS_PER_PROCESS: u32 = 20;

fn accepted_requests_survive_kills_at_any_point(kind: StoreKind) {
    let kills = if soak() { 200 } else { 14 };
    // A small quota, so that most requests have to wait.
    let profile = UpstreamProfile {
        calls: 10,
        ..UNRELIABLE
    };
    let mut relay = Relay::prepare(kind, &profile);
    relay.set("BULKHEAD_UPSTREAM_TIMEOUT", "500ms");
    let seed = rand::random();
    eprintln!("seed {seed}");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let (accepted, sent) = (Mutex::new(Vec::new()), AtomicU32::new(0));
    for kill in 0..kills {
        let at_point = kill % 3 != 2;
        let crash = format!("{}:{}", POINTS[kill % POINTS.len()], random.gen_range(0..3));
        let crash = [("BULKHEAD_TEST_CRASH_AT", crash.as_str())];
        // Work from before the last kill may bring the process to its point at once.
        if !relay.run_to_crash(if at_point { &crash } else { &[] }) {
            assert!(at_point, "server should not end by itself");
            continue;
        }
        let dies_at = Instant::now() + Duration::from_millis(random.gen_range(300..2500));
        // While a new store holds calls back, responses are immediate. Without a limit, a fast
        // machine would accept more requests than can be signed during the test.
        let left = AtomicU32::new(REQUESTS_PER_PROCESS);
        let one_less = |left: u32| left.checked_sub(1);
        let client = || {
            while relay.server().is_alive() && Instant::now() < dies_at {
                if left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
                    .is_err()
                {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                let number = sent.fetch_add(1, Ordering::Relaxed);
                let message = format!("message-of-crashes-{number}");
                if let Some(id) = try_sign(&relay, &message) {
                    accepted
                        .lock()
                        .expect("thread should not panic")
                        .push((id, message));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(client);
            }
        });
        // Kills the process if it has not killed itself.
        relay.server().signal("KILL");
    }
    let accepted = accepted.into_inner().expect("thread should not panic");
    relay.run();
    assert!(
        accepted.len() > kills,
        "only {} requests accepted",
        accepted.len()
    );
    let timeout = Duration::from_secs(if soak() { 900 } else { 200 });
    until_within(timeout, "all accepted requests are notified", || {
        let notified: BTreeMap<_, _> = relay
            .receiver
            .deliveries()
            .into_iter()
            .filter_map(|delivery| Some((delivery.id?, delivery.body)))
            .collect();
        accepted.iter().all(|(id, message)| {
            notified
                .get(id)
                .is_some_and(|body| body["data"]["message"] == message.as_str())
        })
    });
    relay.check_quota();
    // After a kill between the receiver's response and the commit, running webhooks are sent again.
    // At most four run per host (`--webhooks-per-host-max`).
    let deliveries = relay.receiver.deliveries();
    let mut count: BTreeMap<_, usize> = BTreeMap::new();
    for delivery in &deliveries {
        *count.entry(delivery.id.clone()).or_default() += 1;
    }
    let repeated = deliveries.len() - count.len();
    let under_way = 4;
    assert!(
        repeated <= kills * under_way,
        "{repeated} webhooks repeated"
    );
    eprintln!(
        "{kills} kills, {} accepted, {repeated} webhooks repeated",
        accepted.len()
    );
}

/// Sends a request to sign. Returns its id if the status was 202. The server may die at any time.
fn try_sign(relay: &Relay, message: &str) -> Option<String> {
    let url = relay.callback(message);
    let target = format!("/crypto/sign?message={message}&callback_url={url}");
    let mut stream = std::net::TcpStream::connect(relay.server().address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(&http::head("GET", &target, &[], 0)).ok()?;
    let response = http::read(&mut stream, false).ok()?;
    assert!([200, 202, 503].contains(&response.status), "{response:?}");
    (response.status == 202).then(|| {
        response.json()["id"]
            .as_str()
            .expect("id should be a string")
            .to_owned()
    })
}
