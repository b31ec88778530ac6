//! A database outage: no request is accepted meanwhile, and work resumes afterwards.

use super::{RELIABLE, RESPONSE_TIME_MAX, Relay, StoreKind};
use bulkhead_tests::{soak, until_within};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 8;

/// The phases of the test, which determine the allowed responses.
const UP: u8 = 0;
const CHANGING: u8 = 1;
const AWAY: u8 = 2;
const STOPPED: u8 = 3;

/// A database server for this test, which the test can stop.
struct Database(tempfile::TempDir);

impl Database {
    fn new() -> (Self, String) {
        let database = Self(tempfile::tempdir().expect("folder should be accessible"));
        let url = database.script("start");
        (database, url)
    }

    fn script(&self, action: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres.sh");
        let folder = self.0.path().join("postgres");
        let output = Command::new(script).arg(action).arg(folder).output();
        let output = output.expect("script should run");
        assert!(output.status.success(), "{action}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.script("stop");
    }
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn postgres_outage_returns_503_and_work_resumes_afterwards() {
    let away = Duration::from_secs(if soak() { 20 } else { 5 });
    let (database, url) = Database::new();
    let mut relay = Relay::prepare(StoreKind::Sqlite, &RELIABLE);
    relay.set("BULKHEAD_STORE", &url);
    relay.set("BULKHEAD_UPSTREAM_TIMEOUT", "5s");
    relay.run();
    relay.wait_for_calls();
    // Later than the response time, so that requests get 202.
    let late = json!({"mode": "late", "delay_ms": 1900});
    relay.upstream.control(&late);
    let relay = &relay;
    let (phase, sent) = (AtomicU8::new(UP), AtomicU32::new(0));
    let (accepted_ids, rejections) = (Mutex::new(BTreeSet::new()), AtomicU32::new(0));
    let client = || {
        while phase.load(Ordering::Relaxed) != STOPPED {
            let before = phase.load(Ordering::Relaxed);
            let number = sent.fetch_add(1, Ordering::Relaxed);
            let url = relay.callback(&number.to_string());
            let message = format!("message-of-an-outage-{number}");
            let (response, took) = relay.sign(&message, Some(&url));
            assert!(took < RESPONSE_TIME_MAX, "{took:?}");
            let after = phase.load(Ordering::Relaxed);
            match response.status {
                200 => {}
                202 => {
                    let id = response.json()["id"]
                        .as_str()
                        .expect("id should be a string")
                        .to_owned();
                    accepted_ids
                        .lock()
                        .expect("thread should not panic")
                        .insert(id);
                }
                503 => {
                    assert_eq!(response.problem(), "store_unavailable");
                    rejections.fetch_add(1, Ordering::Relaxed);
                }
                _ => panic!("{response:?}"),
            }
            if before == AWAY && after == AWAY {
                assert_eq!(response.status, 503, "{response:?}");
            }
            // This pause keeps the load low enough that everything is signed in the end.
            std::thread::sleep(Duration::from_millis(300));
        }
    };
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&phase);
        for _ in 0..CLIENTS {
            scope.spawn(client);
        }
        until_within(away * 2, "some requests get 202", || {
            accepted_ids.lock().expect("thread should not panic").len() > CLIENTS
        });
        phase.store(CHANGING, Ordering::Relaxed);
        database.script("halt");
        phase.store(AWAY, Ordering::Relaxed);
        let end = Instant::now() + away;
        until_within(away * 2, "the outage is over", || Instant::now() >= end);
        assert_eq!(relay.health()["store"]["status"], "failing");
        phase.store(CHANGING, Ordering::Relaxed);
        database.script("start");
        let before = accepted_ids.lock().expect("thread should not panic").len();
        until_within(
            Duration::from_secs(10),
            "requests are accepted again",
            || accepted_ids.lock().expect("thread should not panic").len() > before,
        );
    });
    assert!(rejections.load(Ordering::Relaxed) > 0);
    let accepted_ids = accepted_ids.into_inner().expect("thread should not panic");
    until_within(
        Duration::from_mins(2),
        "all accepted requests are notified",
        || relay.notified_ids().is_superset(&accepted_ids),
    );
    relay.check_quota();
}

/// Stops the clients even if the test fails.
struct StopOnDrop<'a>(&'a AtomicU8);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(STOPPED, Ordering::Relaxed);
    }
}
