//! The commands in `docs/operate` work: backups are made under load and restored. Alerts are about existing
//! metrics, and documents name existing files and tests.

mod alerts;
mod containers;
mod documents;
mod metrics_page;

use crate::relay::{Relay, StoreKind, UpstreamProfile, postgres};
use bulkhead_tests::{until, until_within};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 4;

/// The maximum response time that the interface promises.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(2);

/// A quota that signs everything soon, with some failures.
const PROFILE: UpstreamProfile = UpstreamProfile {
    calls: 100,
    window_ms: 1000,
    fail: "0.2",
    degraded: "200ms..1s",
};

/// A request that got 200 or 202.
#[derive(Debug, Clone)]
struct Accepted {
    id: String,
    message: String,
    /// Whether the status was 202.
    is_pending: bool,
}

/// The requests of a run with a backup in its middle.
struct Load {
    /// Accepted before the backup began.
    before: Vec<Accepted>,
    /// Sent after the backup had ended.
    after: Vec<Accepted>,
}

/// Clients send requests continuously and get responses in time. `backup` runs while requests are
/// accepted.
fn under_load(relay: &Relay, backup: impl Fn()) -> Load {
    let (accepted, sent) = (Mutex::new(Vec::new()), AtomicU32::new(0));
    let over = AtomicBool::new(false);
    let client = || {
        while !over.load(Ordering::Relaxed) {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            let message = format!("message-of-a-backup-{number}");
            let url = relay.callback(&number.to_string());
            let (response, took) = relay.sign(&message, Some(&url));
            assert!(took < RESPONSE_TIME_MAX, "{took:?}");
            assert!([200, 202].contains(&response.status), "{response:?}");
            let one = Accepted {
                id: response.json()["id"]
                    .as_str()
                    .expect("id should be a string")
                    .to_owned(),
                message,
                is_pending: response.status == 202,
            };
            accepted.lock().expect("thread should not panic").push(one);
            // This pause keeps the load low enough that everything is signed in the end.
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let all = || accepted.lock().expect("thread should not panic").clone();
    let mut before = Vec::new();
    let mut first_after = 0;
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&over);
        for _ in 0..CLIENTS {
            scope.spawn(client);
        }
        until("some requests are accepted", || all().len() >= 100);
        until("requests are accepted during a backup", || {
            before = all();
            backup();
            all().len() > before.len()
        });
        first_after = sent.load(Ordering::Relaxed);
        let enough = all().len() + 50;
        until("more requests are accepted", || all().len() >= enough);
    });
    let number = |one: &Accepted| one.message.rsplit('-').next()?.parse::<u32>().ok();
    let after = all()
        .into_iter()
        .filter(|one| number(one) >= Some(first_after))
        .collect();
    Load { before, after }
}

/// Stops the clients even if the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// After a restore, requests from before the backup exist, and are signed and notified in the end.
/// Later requests are unknown.
fn check_restored(relay: &Relay, load: &Load) {
    for one in &load.before {
        assert_eq!(relay.request(&one.id)["message"], one.message.as_str());
    }
    let last = load
        .after
        .last()
        .expect("some requests should follow the backup");
    let target = format!("/crypto/requests/{}", last.id);
    assert_eq!(relay.server().get("GET", &target).status, 404);
    let timeout = Duration::from_mins(2);
    let mut waiting = load.before.clone();
    until_within(timeout, "all requests are signed", || {
        waiting.retain(|one| relay.request(&one.id)["status"] != "signed");
        waiting.is_empty()
    });
    let pending = load.before.iter().filter(|one| one.is_pending);
    let pending: BTreeSet<_> = pending.map(|one| one.id.clone()).collect();
    assert!(!pending.is_empty());
    until_within(timeout, "all requests are notified", || {
        relay.notified_ids().is_superset(&pending)
    });
    relay.check_quota();
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("command should run");
    assert!(output.status.success(), "{output:?}");
    output
}

/// Backs the file up with `backup(from, to)` and restores it as the documentation describes.
fn a_file_is_restored(backup: impl Fn(&Path, &Path)) {
    let mut relay = Relay::start(StoreKind::Sqlite, &PROFILE);
    let (store, copy) = (relay.file("relay.db"), relay.file("copy.db"));
    let load = under_load(&relay, || {
        // SQLite does not overwrite an existing copy.
        drop(std::fs::remove_file(&copy));
        backup(&store, &copy);
    });
    // As after a real loss, the write-ahead log of the old file must go too.
    relay.server().signal("KILL");
    relay.server = None;
    let stopped = Instant::now();
    for name in ["relay.db", "relay.db-wal", "relay.db-shm"] {
        std::fs::remove_file(relay.file(name)).expect("it should exist");
    }
    std::fs::rename(&copy, &store).expect("copy should be moved");
    // The copy does not contain the latest calls.
    let window = relay.window + Duration::from_secs(1);
    until("a window has passed", || stopped.elapsed() > window);
    relay.run();
    check_restored(&relay, &load);
}

#[test]
#[ignore = "needs sqlite3"]
fn sqlite3_backup_under_load_is_restored() {
    a_file_is_restored(|from, to| {
        let vacuum = format!("VACUUM INTO '{}'", to.display());
        run(Command::new("sqlite3").arg("-bail").arg(from).arg(vacuum));
        let check = run(Command::new("sqlite3")
            .arg(to)
            .arg("PRAGMA integrity_check"));
        assert_eq!(check.stdout, b"ok\n");
    });
}

#[test]
#[ignore = "needs Python"]
fn python_backup_under_load_is_restored() {
    const PROGRAM: &str =
        "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM INTO ?', sys.argv[2:])";
    a_file_is_restored(|from, to| {
        run(Command::new("python3")
            .args(["-c", PROGRAM])
            .args([from, to]));
    });
}

/// The databases of one test. They are dropped with this value unless the test fails.
struct Databases {
    server: String,
    names: [String; 2],
}

impl Databases {
    fn new() -> Self {
        let names = ["lost", "restored"].map(|name| format!("{name}_{}", std::process::id()));
        let databases = Self {
            server: postgres(),
            names,
        };
        for name in &databases.names {
            databases.psql(&format!("CREATE DATABASE {name}"));
        }
        databases
    }

    fn psql(&self, command: &str) {
        let mut psql = Command::new("psql");
        run(psql
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-c", command])
            .arg(&self.server));
    }

    /// Returns the URLs of the lost database and of the restored one.
    fn urls(&self) -> [String; 2] {
        let (server, _) = self.server.rsplit_once('/').expect("text should be a URL");
        self.names.each_ref().map(|name| format!("{server}/{name}"))
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for name in &self.names {
                self.psql(&format!("DROP DATABASE {name} WITH (FORCE)"));
            }
        }
    }
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn pg_dump_under_load_is_restored() {
    let databases = Databases::new();
    let [lost, restored] = databases.urls();
    let mut relay = Relay::prepare(StoreKind::Sqlite, &PROFILE);
    relay.set("BULKHEAD_STORE", &lost);
    relay.run();
    relay.wait_for_calls();
    let copy = relay.file("copy.dump");
    let load = under_load(&relay, || {
        let dump = ["--format=custom", "--no-owner", "--file"];
        run(Command::new("pg_dump").args(dump).arg(&copy).arg(&lost));
    });
    relay.server().signal("KILL");
    let restore = [
        "--exit-on-error",
        "--single-transaction",
        "--no-owner",
        "--dbname",
    ];
    run(Command::new("pg_restore")
        .args(restore)
        .arg(&restored)
        .arg(&copy));
    relay.set("BULKHEAD_STORE", &restored);
    // No wait is needed here: the tables record that they were restored, and hold calls for a
    // window.
    relay.run();
    check_restored(&relay, &load);
    relay.server = None;
}
