//! Jumps of the database's clock, and calls while the time is not certain.

use super::*;
use crate::{Outcome, SlotEnd};

const HOUR_MS: i64 = 60 * 60 * 1000;
const TAKEN_MS: i64 = 71_000;

/// A database that this replica has used for a window, with a pending message.
fn running() -> (Database, Replica) {
    let database = Database::with_clock(QUOTA, 1_700_000_000_000);
    let replica = Replica::new(&database, "a", 5000);
    pass(&database, &[&replica], TAKEN_MS);
    accept(&replica.store, 1, "m").expect("request should be stored");
    (database, replica)
}

fn later(after_ms: u64) -> Claim<Attempt> {
    Claim::RetryAfter {
        after_ms: Some(after_ms),
    }
}

fn acquired(claimed: Claim<Attempt>) -> Attempt {
    match claimed {
        Claim::Acquired(claimed) => claimed,
        Claim::RetryAfter { after_ms } => panic!("not before {after_ms:?} ms"),
    }
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn unknown_machine_waits_and_others_continue() {
    let (database, known) = running();
    let unknown = Replica::new(&database, "b", 77_000_000);
    assert_eq!(unknown.begin(), later(71_000));
    let first = acquired(known.begin());
    wait(known.store.finish_attempt(
        first,
        SlotEnd::Settled,
        Outcome::Retry { after_ms: 0 },
        Vec::new(),
        known.now(),
    ))
    .expect("outcome should be stored");
    pass(&database, &[&known, &unknown], TAKEN_MS - 1);
    assert_eq!(unknown.begin(), later(1));
    assert_eq!(
        database.number("SELECT count(*) FROM bulkhead_machines"),
        1,
        "an uncertain clock is not recorded"
    );
    pass(&database, &[&known, &unknown], 1);
    acquired(unknown.begin());
    assert_eq!(database.number("SELECT count(*) FROM bulkhead_machines"), 2);
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn restart_on_same_machine_continues_at_once() {
    let (database, mut replica) = running();
    replica.restart(&database);
    assert_eq!(replica.held_ms(), 0);
    acquired(replica.begin());
}

/// The jump happens while the replica runs, or between two runs.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn clock_jump_is_corrected_and_delays_calls() {
    for step_ms in [HOUR_MS, -HOUR_MS, 300, -300] {
        for restarted in [false, true] {
            let (database, mut replica) = running();
            let before = database.number("SELECT ms + shift_ms FROM clock, bulkhead_meta");
            database.step(step_ms);
            if restarted {
                replica.restart(&database);
            }
            assert_eq!(replica.begin(), later(71_000), "{step_ms} ms");
            let after = database.number("SELECT ms + shift_ms FROM clock, bulkhead_meta");
            assert!(
                (after - before).abs() <= 2,
                "the store's time should be continuous"
            );
            pass(&database, &[&replica], TAKEN_MS - 1);
            assert_eq!(replica.begin(), later(1));
            pass(&database, &[&replica], 1);
            acquired(replica.begin());
        }
    }
}

/// The wrong clock does not free the slot of a call that ends meanwhile.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn call_ending_after_jump_frees_no_slot_early() {
    let (database, replica) = running();
    let tried = acquired(replica.begin());
    database.step(-HOUR_MS);
    wait(replica.store.finish_attempt(
        tried,
        SlotEnd::Settled,
        Outcome::Retry { after_ms: 0 },
        Vec::new(),
        replica.now(),
    ))
    .expect("outcome should be stored");
    let now = database.number("SELECT ms + shift_ms FROM clock, bulkhead_meta");
    let free_at = database.number("SELECT max(free_at) FROM bulkhead_slots");
    assert!((free_at - now - 61_000).abs() <= 2, "{}", free_at - now);
    let due_at = database.number("SELECT due_at FROM bulkhead_messages");
    assert!((due_at - now).abs() <= 2);
}

/// Another replica may end a call. A new replica does not know that the clock is wrong.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn replica_without_known_clock_frees_no_slot() {
    let (database, known) = running();
    let tried = acquired(known.begin());
    database.step(-HOUR_MS);
    let unknown = Replica::new(&database, "b", 77_000_000);
    wait(unknown.store.finish_attempt(
        tried,
        SlotEnd::Settled,
        Outcome::Retry { after_ms: 0 },
        Vec::new(),
        unknown.now(),
    ))
    .expect("outcome should be stored");
    known.heartbeat();
    let now = database.number("SELECT ms + shift_ms FROM clock, bulkhead_meta");
    let free_at = database.number("SELECT max(free_at) FROM bulkhead_slots");
    assert!(free_at - now >= 61_000, "{}", free_at - now);
}

/// One of two machines was stopped for a while. One replica corrects the time, and then both agree.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn differing_machines_agree_after_correction() {
    let (database, a) = running();
    let b = Replica::new(&database, "b", 900_000);
    pass(&database, &[&a, &b], TAKEN_MS);
    assert_eq!((a.held_ms(), b.held_ms()), (0, 0));
    // Twenty seconds pass for all clocks except that of b.
    database.step(20_000);
    a.boot_ms.fetch_add(20_000, Ordering::SeqCst);
    b.heartbeat();
    a.heartbeat();
    assert_eq!(database.number("SELECT epoch FROM bulkhead_meta"), 1);
    assert!(a.held_ms() > 70_000 && b.held_ms() > 70_000);
    pass(&database, &[&a, &b], TAKEN_MS);
    assert_eq!(database.number("SELECT epoch FROM bulkhead_meta"), 1);
    assert_eq!((a.held_ms(), b.held_ms()), (0, 0));
}

/// The database server was restarted or replaced, so that claims may be lost.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn new_incarnation_of_database_delays_calls() {
    let (database, replica) = running();
    database.run("UPDATE bulkhead_meta SET incarnation = 'as it was before'");
    assert_eq!(replica.begin(), later(71_000));
    pass(&database, &[&replica], TAKEN_MS);
    acquired(replica.begin());
}

/// The clock was a day ahead while calls were claimed, and was corrected while no replica of the
/// same boot was running.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn slots_claimed_by_wrong_clock_become_free() {
    let (database, replica) = running();
    drop(replica);
    database.run("UPDATE bulkhead_slots SET free_at = free_at + 86400000");
    let replica = Replica::new(&database, "another start", 5);
    pass(&database, &[&replica], TAKEN_MS);
    accept(&replica.store, 9, "n").expect("request should be stored");
    // The slots count as if they had been claimed just now.
    assert!(matches!(replica.begin(), Claim::RetryAfter { after_ms: Some(ms) } if ms <= 71_000));
}
