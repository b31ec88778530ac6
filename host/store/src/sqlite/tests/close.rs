//! The file after the store was closed, and the size of its write-ahead log.

use super::super::database::LOG_BYTES_KEPT;
use super::*;
use crate::Unavailable;
use crate::listed::assert_listed;

fn log_bytes(path: &Path) -> u64 {
    let log = path.with_extension("db-wal");
    log.metadata().map_or(0, |metadata| metadata.len())
}

#[test]
fn closed_store_is_complete_in_one_file() {
    let folder = tempfile::tempdir().expect("folder should be created");
    let path = folder.path().join("store.db");
    let now = at(0, 0);
    let store = Sqlite::open(&path, BOOT, QUOTA, now, WAITING_MAX).expect("store should open");
    let new = new_request(1, "m", None);
    let id = new.id.clone();
    wait(store.accept(new, UNBOUNDED, now)).expect("request should be stored");
    assert!(log_bytes(&path) > 0);
    for _ in ["once", "again"] {
        wait(store.close()).expect("store should be closed");
    }
    assert_eq!(log_bytes(&path), 0);
    let rejected = wait(store.accept(new_request(2, "n", None), UNBOUNDED, now));
    let is_closing =
        |error: &StoreError| matches!(error, StoreError::Unavailable(Unavailable::Closing));
    let rejected = rejected.expect_err("request should be rejected");
    assert!(is_closing(&rejected), "{rejected}");
    assert_listed("request during the end of the store", &rejected, &[]);
    assert!(wait(store.stats(now)).as_ref().is_err_and(is_closing));

    let copy = folder.path().join("copy.db");
    std::fs::copy(&path, &copy).expect("file should be copied");
    let copy = Sqlite::inspect(&copy, BOOT, QUOTA, now).expect("copy should open");
    let request = wait(copy.request(id, Viewer::All, now)).expect("copy should respond");
    assert!(request.is_some());
}

#[test]
fn close_reports_a_log_that_another_process_keeps() {
    let folder = folder();
    let path = folder.path().join("store.db");
    let now = at(0, 0);
    let store = Sqlite::open(&path, BOOT, QUOTA, now, WAITING_MAX).expect("store should open");
    let other = Connection::open(&path).expect("file should open");
    other
        .execute_batch("BEGIN; SELECT count(*) FROM requests")
        .expect("transaction should start");
    wait(store.accept(new_request(1, "m", None), UNBOUNDED, now))
        .expect("request should be stored");
    let remains = wait(store.close()).expect_err("log should remain");
    assert!(
        matches!(remains, StoreError::Unavailable(Unavailable::LogRemains)),
        "{remains}"
    );
    assert_listed("stop while another process reads the store", &remains, &[]);
}

#[test]
fn log_shrinks_after_a_long_read() {
    let folder = folder();
    let path = folder.path().join("store.db");
    let now = at(0, 0);
    let store = Sqlite::open(&path, BOOT, QUOTA, now, WAITING_MAX).expect("store should open");
    let other = Connection::open(&path).expect("file should open");
    other
        .execute_batch("BEGIN; SELECT count(*) FROM requests")
        .expect("transaction should start");
    let max = u64::try_from(LOG_BYTES_KEPT).expect("limit should be positive");
    let mut number = 0;
    let mut accept = || {
        number += 1;
        let message = format!("{number} {}", "x".repeat(100_000));
        wait(store.accept(new_request(number, &message, None), UNBOUNDED, now))
            .expect("request should be stored");
    };
    while log_bytes(&path) < 3 * max {
        accept();
    }
    other
        .execute_batch("ROLLBACK")
        .expect("transaction should end");
    // The first commit writes the log's content into the file, and the second one begins the log again.
    accept();
    accept();
    assert!(log_bytes(&path) <= max, "{}", log_bytes(&path));
}
