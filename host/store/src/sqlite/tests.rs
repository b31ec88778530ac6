//! Tests of SQLite only. `conformance` tests the behaviour that all stores share.

mod access;
mod clock;
mod close;
mod cost;
mod files;
mod migration;

use super::*;
use crate::conformance::{Bench, Machine, QUOTA, UNBOUNDED};
use crate::{BootMillis, Callback, Owner, RequestFilter, StoreError, UnixMillis};
use rusqlite::Connection;
use std::path::PathBuf;

const BOOT: &str = "this start";
const WAITING_MAX: usize = 1000;

pub(super) fn at(boot_ms: i64, wall_ms: i64) -> Now {
    Now {
        wall: UnixMillis(wall_ms),
        boot: BootMillis(boot_ms),
    }
}

/// Creates a folder, in memory if possible. On a disk thousands of commits would be slow, and no test here
/// needs durability.
fn folder() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory
        .or_else(|_| tempfile::tempdir())
        .expect("folder should be created")
}

/// Opens a new file without threads.
pub(super) fn database() -> (tempfile::TempDir, Database) {
    let folder = tempfile::tempdir().expect("folder should be created");
    let path = folder.path().join("db");
    let database = Database::open(&path, BOOT, QUOTA, at(0, 0)).expect("store should open");
    (folder, database)
}

fn wait<T>(operation: StoreFuture<'_, T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("runtime should start").block_on(operation)
}

/// A store with its own file, and clocks that tests move.
struct FileBench {
    folder: tempfile::TempDir,
    store: Option<Sqlite>,
    boot_ms: i64,
    wall_ms: i64,
    starts: u32,
}

impl FileBench {
    fn new() -> Self {
        let mut bench = Self {
            folder: folder(),
            store: None,
            boot_ms: 0,
            wall_ms: 1_000_000,
            starts: 0,
        };
        bench.open(QUOTA);
        bench
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("db")
    }

    fn boot_id(&self) -> String {
        format!("start {}", self.starts)
    }

    fn open(&mut self, quota: Quota) {
        let now = at(self.boot_ms, self.wall_ms);
        let store = Sqlite::open(&self.path(), &self.boot_id(), quota, now, WAITING_MAX);
        self.store = Some(store.expect("store should open"));
    }
}

impl Bench for FileBench {
    fn store(&self) -> &dyn Store {
        self.store.as_ref().expect("store should be open")
    }

    fn now(&self) -> Now {
        at(self.boot_ms, self.wall_ms)
    }

    fn pass(&mut self, ms: i64) {
        self.boot_ms += ms;
        self.wall_ms += ms;
    }

    fn step_wall(&mut self, ms: i64) {
        self.wall_ms += ms;
    }

    /// Copies the files while they are open: this is the state that a killed process leaves.
    fn crash(&mut self, machine: Machine, quota: Quota) {
        let left = folder();
        for file in ["db", "db-wal"] {
            let copied = std::fs::copy(self.folder.path().join(file), left.path().join(file));
            copied.expect("file should be copied");
        }
        self.store = None;
        self.folder = left;
        if machine == Machine::Restarts {
            self.starts += 1;
            self.boot_ms = 5;
        }
        assert_sound(&self.path());
        self.open(quota);
    }

    fn replica(&mut self) -> Option<Box<dyn Store>> {
        None
    }
}

impl Drop for FileBench {
    fn drop(&mut self) {
        self.store = None;
        if !std::thread::panicking() {
            assert_sound(&self.path());
        }
    }
}

/// Checks that the counters and the table of hosts equal newly computed ones.
fn assert_sound(path: &Path) {
    let connection = Connection::open(path).expect("file should open");
    for (what, wrong) in [
        (
            "the backlog",
            "SELECT count(*) FROM meta WHERE backlog <>
               (SELECT count(*) FROM messages WHERE state = 'pending')",
        ),
        (
            "pending notifications",
            "SELECT count(*) FROM meta WHERE notifications_pending <>
               (SELECT count(*) FROM notifications WHERE state = 'pending')",
        ),
        (
            "parked notifications",
            "SELECT count(*) FROM meta WHERE notifications_parked <>
               (SELECT count(*) FROM notifications WHERE state = 'parked')",
        ),
        (
            "hosts",
            "WITH real (host, due_at) AS (
               SELECT host, min(due_at) FROM notifications
               WHERE state = 'pending' AND leased_until IS NULL GROUP BY host)
             SELECT (SELECT count(*) FROM (SELECT * FROM hosts EXCEPT SELECT * FROM real))
                  + (SELECT count(*) FROM (SELECT * FROM real EXCEPT SELECT * FROM hosts))",
        ),
        (
            "states of requests",
            "SELECT count(*) FROM requests r JOIN messages m ON m.id = r.message
             WHERE r.state <> m.state",
        ),
        (
            "the time when a request is done",
            "SELECT count(*) FROM requests r LEFT JOIN notifications n ON n.request = r.number
             WHERE (r.done_at IS NULL) <> (r.state = 'pending' OR ifnull(n.state, '') = 'pending')",
        ),
        (
            "messages without requests",
            "SELECT count(*) FROM messages WHERE id NOT IN (SELECT message FROM requests)",
        ),
    ] {
        let wrong: i64 = connection
            .query_row(wrong, (), |row| row.get(0))
            .expect("query should succeed");
        assert_eq!(wrong, 0, "{what}");
    }
}

mod conformance {
    crate::conformance::conformance_tests!(super::FileBench::new());
}

#[test]
fn foreign_and_newer_files_are_rejected() {
    let folder = tempfile::tempdir().expect("folder should be created");
    let open = |name: &str| {
        let path = folder.path().join(name);
        Sqlite::open(&path, BOOT, QUOTA, at(0, 0), WAITING_MAX).map(drop)
    };
    std::fs::write(folder.path().join("text"), "x".repeat(5000)).expect("file should be written");
    assert!(matches!(open("text"), Err(StoreError::Unusable(_))));

    let other = Connection::open(folder.path().join("other")).expect("file should open");
    other
        .execute_batch("CREATE TABLE t (a)")
        .expect("table should be created");
    assert!(matches!(open("other"), Err(StoreError::Unusable(_))));

    assert!(open("ours").is_ok() && open("ours").is_ok());
    let ours = Connection::open(folder.path().join("ours")).expect("file should open");
    ours.pragma_update(None, "user_version", 4)
        .expect("pragma should be set");
    let newer = open("ours").expect_err("newer version should be rejected");
    assert!(newer.to_string().contains("version 4"), "{newer}");

    assert!(matches!(
        open("no/such/folder"),
        Err(StoreError::Unavailable(_))
    ));
    let made = std::process::Command::new("mkfifo")
        .arg(folder.path().join("pipe"))
        .status();
    assert!(made.expect("mkfifo should run").success());
    for no_file in ["pipe", "."] {
        assert!(
            matches!(open(no_file), Err(StoreError::Unusable(_))),
            "{no_file}"
        );
    }
}

#[test]
fn second_process_is_rejected_while_file_is_open() {
    let folder = tempfile::tempdir().expect("folder should be created");
    let path = folder.path().join("db");
    let open = |path: &Path| Sqlite::open(path, BOOT, QUOTA, at(0, 0), WAITING_MAX);
    let first = open(&path).expect("store should open");
    let link = folder.path().join("by another name");
    std::os::unix::fs::symlink(&path, &link).expect("link should be created");
    for path in [&path, &link] {
        let Err(second) = open(path) else {
            panic!("the file was opened twice");
        };
        assert!(second.to_string().contains("another process"), "{second}");
    }
    let now = at(0, 0);
    assert!(
        wait(first.stats(now)).is_ok(),
        "the first process should not be affected"
    );
    drop(first);
    assert!(open(&path).is_ok(), "the lock should end with the store");
}

#[test]
fn special_names_of_sqlite_are_plain_paths() {
    for name in [":memory:", "file:none.db?mode=memory", "file::memory:"] {
        // Without a file there is nothing to inspect. A database in memory would be empty instead.
        let inspected = Sqlite::inspect(Path::new(name), BOOT, QUOTA, at(0, 0));
        assert!(
            matches!(inspected, Err(StoreError::Unavailable(_))),
            "{name}"
        );
    }
}

fn new_request(number: u128, message: &str, host: Option<&str>) -> NewRequest {
    NewRequest {
        id: RequestId::new(UnixMillis(0), number),
        owner: None,
        message: message.into(),
        callback: host.map(|host| Callback {
            url: format!("http://{host}/"),
            host: host.into(),
        }),
        trace: None,
    }
}

fn newest(store: &dyn Store, filter: RequestFilter, now: Now) -> Vec<RequestView> {
    let listed = wait(store.list(RequestQuery::newest(filter, 9), now));
    let listed = listed.expect("store should respond");
    listed.expect("the query should not name a request")
}

fn acquired<T: std::fmt::Debug>(claimed: Claim<T>) -> T {
    match claimed {
        Claim::Acquired(claimed) => claimed,
        Claim::RetryAfter { .. } => panic!("{claimed:?}"),
    }
}

/// Stores a signed message whose notification is parked, and returns its request.
fn one_parked(store: &dyn Store, now: Now) -> RequestId {
    let new = new_request(1, "m", Some("a"));
    let id = new.id.clone();
    wait(store.accept(new, UNBOUNDED, now)).expect("request should be stored");
    let attempt = acquired(wait(store.claim_attempt(now)).expect("store should respond"));
    let signed = Outcome::Signed("sig".into());
    wait(store.finish_attempt(attempt, SlotEnd::Settled, signed, Vec::new(), now))
        .expect("attempt should be finished");
    let notified = acquired(
        wait(store.claim_notifications(1, Vec::new(), now)).expect("store should respond"),
    );
    let why = "gone".into();
    let parked = NotificationOutcome::Parked { why };
    wait(store.finish_notification(notified[0].lease.clone(), parked, now))
        .expect("delivery should be finished");
    id
}

#[test]
fn inspection_leaves_leases_and_plans_of_the_server_unchanged() {
    let folder = tempfile::tempdir().expect("folder should be created");
    let path = folder.path().join("db");
    let inspect = |boot: &str, now| Sqlite::inspect(&path, boot, QUOTA, now);
    assert!(matches!(
        inspect(BOOT, at(0, 0)),
        Err(StoreError::Unavailable(_))
    ));
    assert!(!path.exists(), "no file should be created");
    std::fs::write(&path, "").expect("file should be written");
    assert!(matches!(
        inspect(BOOT, at(0, 0)),
        Err(StoreError::Unusable(_))
    ));

    let served =
        Sqlite::open(&path, BOOT, QUOTA, at(0, 0), WAITING_MAX).expect("store should open");
    let now = at(61_000, 1_061_000);
    let id = one_parked(&served, now);
    wait(served.accept(new_request(2, "n", None), UNBOUNDED, now))
        .expect("request should be stored");
    let attempt = acquired(wait(served.claim_attempt(now)).expect("store should respond"));

    // The clock of the inspecting process is slightly ahead.
    let look = inspect(BOOT, at(61_010, 1_061_010)).expect("store should open");
    let later = at(62_020, 1_062_020);
    let parked = newest(&look, RequestFilter::Parked, later);
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].id, id);
    let redelivered = wait(look.redeliver(id.clone(), later)).expect("store should respond");
    assert_eq!(redelivered, Redelivery::Due);
    let view = wait(look.request(id, Viewer::All, later))
        .expect("store should respond")
        .expect("request should exist");
    let planned = view
        .notification
        .and_then(|notified| notified.next_attempt_at);
    assert_eq!(planned, Some(later.wall));
    drop(look);

    let notified = acquired(
        wait(served.claim_notifications(9, Vec::new(), later)).expect("store should respond"),
    );
    assert_eq!(notified[0].number, 1);
    let again = Outcome::Retry { after_ms: 0 };
    wait(served.finish_attempt(attempt, SlotEnd::Settled, again, Vec::new(), later))
        .expect("lease should still be valid");
    let again = NotificationOutcome::Retry {
        after_ms: 50_000,
        why: "not there".into(),
    };
    wait(served.finish_notification(notified[0].lease.clone(), again, later))
        .expect("delivery should be finished");
    drop(served);

    // The machine was restarted: everything is due when the server starts.
    let now = at(3, 2_000_000);
    let look = inspect("another start", now).expect("store should open");
    let all = newest(&look, RequestFilter::All, now);
    let notified = all[1]
        .notification
        .as_ref()
        .expect("notification should exist");
    assert_eq!(notified.next_attempt_at, Some(now.wall));
}

#[test]
fn machine_restart_makes_everything_due_and_holds_calls() {
    let folder = tempfile::tempdir().expect("folder should be created");
    let path = folder.path().join("db");
    let open = |boot: &str, now| Sqlite::open(&path, boot, QUOTA, now, WAITING_MAX);
    let store = open(BOOT, at(0, 0)).expect("store should open");
    let now = at(61_000, 61_000);
    let id = one_parked(&store, now);
    let now = at(62_000, 62_000);
    let redelivered = wait(store.redeliver(id, now)).expect("store should respond");
    assert_eq!(redelivered, Redelivery::Due);
    let notified = acquired(
        wait(store.claim_notifications(1, Vec::new(), now)).expect("store should respond"),
    );
    let hour = NotificationOutcome::Retry {
        after_ms: 3_600_000,
        why: "not there".into(),
    };
    wait(store.finish_notification(notified[0].lease.clone(), hour, now))
        .expect("delivery should be finished");
    wait(store.accept(new_request(2, "n", None), UNBOUNDED, now))
        .expect("request should be stored");
    let attempt = acquired(wait(store.claim_attempt(now)).expect("store should respond"));
    let hour = Outcome::Retry {
        after_ms: 3_600_000,
    };
    wait(store.finish_attempt(attempt, SlotEnd::Settled, hour, Vec::new(), now))
        .expect("attempt should be finished");
    drop(store);

    let store = open("another start", at(5, 100_000)).expect("store should open");
    let now = at(10, 100_005);
    acquired(wait(store.claim_notifications(1, Vec::new(), now)).expect("store should respond"));
    let later = wait(store.claim_attempt(now)).expect("store should respond");
    let after_ms = Some(61_000 - 5);
    assert_eq!(later, Claim::RetryAfter { after_ms });
    let stats = wait(store.stats(now)).expect("store should respond");
    // The message was accepted at 62,000 by the wall clock.
    assert_eq!(stats.oldest_age_ms, Some(38_005));
    acquired(wait(store.claim_attempt(at(61_005, 0))).expect("store should respond"));
}

#[test]
fn read_does_not_wait_for_an_active_write() {
    let folder = tempfile::tempdir().expect("folder should be created");
    let path = folder.path().join("db");
    let store = Sqlite::open(&path, BOOT, QUOTA, at(0, 0), WAITING_MAX).expect("store should open");
    let now = at(0, 0);
    wait(store.accept(new_request(1, "m", None), UNBOUNDED, now))
        .expect("request should be stored");
    let (release, released) = std::sync::mpsc::channel();
    let (held, is_held) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let writer = &store.writer;
        scope.spawn(move || {
            let call = writer.call(move |database| {
                database.accept(
                    &new_request(2, "n", None),
                    Fingerprint::of("n"),
                    UNBOUNDED,
                    at(0, 0),
                )?;
                held.send(()).expect("receiver should wait");
                // The sender is also dropped if the test fails.
                let _released = released.recv();
                Ok(())
            });
            wait(Box::pin(call)).expect("request should be stored");
        });
        is_held.recv().expect("call should start");
        let id = RequestId::new(UnixMillis(0), 1);
        assert!(
            wait(store.request(id, Viewer::All, now))
                .expect("store should respond")
                .is_some()
        );
        assert_eq!(
            wait(store.signature("m".into())).expect("store should respond"),
            None
        );
        let all = newest(&store, RequestFilter::All, now);
        assert_eq!(all.len(), 1, "an uncommitted request should not be visible");
        assert_eq!(
            wait(store.stats(now))
                .expect("store should respond")
                .backlog,
            1
        );
        release.send(()).expect("receiver should wait");
    });
    assert_eq!(
        wait(store.stats(now))
            .expect("store should respond")
            .backlog,
        2
    );
}

#[test]
fn messages_with_equal_fingerprints_stay_separate() {
    let (_folder, mut database) = database();
    let shared = Fingerprint::of("any");
    for (number, text) in [(1, "m"), (2, "n"), (3, "m")] {
        let new = new_request(number, text, None);
        let accepted = database.accept(&new, shared, UNBOUNDED, at(0, 0));
        let first = if text == "m" { 1 } else { number };
        let id = RequestId::new(UnixMillis(0), first);
        assert_eq!(
            accepted.expect("request should be stored"),
            Accepted::Pending(id),
            "{text}"
        );
    }
    let signed = "UPDATE messages SET state = 'signed', signature = 's', finished_at = 1
                  WHERE text = 'n'";
    let changed = database.connection.execute(signed, ());
    changed.expect("message should be signed");
    let signature = |text| {
        database
            .signature(shared, text)
            .expect("store should respond")
    };
    assert_eq!(signature("n").as_deref(), Some("s"));
    assert_eq!(signature("m"), None);
    assert_eq!(
        database
            .connection
            .query_row("SELECT backlog FROM meta", (), |row| row.get(0)),
        Ok(2)
    );
}

#[test]
fn schema_rejects_impossible_states() {
    let (_folder, mut database) = database();
    let new = new_request(1, "m", None);
    let accepted = database.accept(&new, Fingerprint::of("m"), UNBOUNDED, at(0, 0));
    accepted.expect("request should be stored");
    for wrong in [
        "UPDATE messages SET state = 'signed'",
        "UPDATE messages SET signature = 's'",
        "UPDATE messages SET state = 'failed', error = 'e'",
        "UPDATE messages SET state = 'odd'",
        "UPDATE messages SET tries = -1",
        "UPDATE messages SET text = ''",
        "UPDATE messages SET leased_until = 1",
        "UPDATE requests SET message = 99",
        "UPDATE requests SET done_at = 1",
        "UPDATE requests SET host = 'h'",
        "UPDATE meta SET backlog = -1",
        "UPDATE meta SET notifications_parked = -1",
        "UPDATE slots SET purpose = 'odd'",
        "DELETE FROM messages",
        "INSERT INTO requests (id, message, created_at, state)
         SELECT replace(id, '0', '1'), message, 0, state FROM requests",
    ] {
        let result = database.connection.execute(wrong, ());
        assert!(result.is_err(), "{wrong}");
    }
}

#[test]
fn sqlite_library_is_new_enough() {
    assert!(
        rusqlite::version_number() >= 3_051_003,
        "{}",
        rusqlite::version()
    );
}

/// A second name would allow to open the file twice. The file contains every message.
#[test]
fn file_has_one_name_and_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("folder should be created");
    let path = folder.path().join("db");
    Sqlite::migrate(&path).expect("file should be created");
    let mode = std::fs::metadata(&path)
        .expect("file should exist")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    std::fs::hard_link(&path, folder.path().join("other")).expect("link should be created");
    let error = Sqlite::migrate(&path).expect_err("second name should be rejected");
    assert!(error.to_string().contains("hard link"), "{error}");
}
