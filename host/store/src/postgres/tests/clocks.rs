//! The database's clock, and what becomes of calls when it cannot be trusted.

use super::*;
use crate::{Outcome, SlotEnd};

const HOUR_MS: i64 = 60 * 60 * 1000;
const TAKEN_MS: i64 = 71_000;

/// A database that has been used for a window by this replica, with a message that waits.
fn running() -> (Database, Replica) {
    let database = Database::with_clock(QUOTA, 1_700_000_000_000);
    let replica = Replica::new(&database, "a", 5000);
    pass(&database, &[&replica], TAKEN_MS);
    accept(&replica.store, 1, "m").expect("stored");
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
fn a_machine_that_nobody_knows_waits_and_the_others_go_on() {
    let (database, known) = running();
    let unknown = Replica::new(&database, "b", 77_000_000);
    assert_eq!(unknown.begin(), later(71_000));
    let first = acquired(known.begin());
    wait(known.store.finish_attempt(
        first,
        SlotEnd::Settled,
        Outcome::Again { after_ms: 0 },
        Vec::new(),
        known.now(),
    ))
    .expect("finished");
    pass(&database, &[&known, &unknown], TAKEN_MS - 1);
    assert_eq!(unknown.begin(), later(1));
    assert_eq!(
        database.number("SELECT count(*) FROM bulkhead_machines"),
        1,
        "what is not certain is not written"
    );
    pass(&database, &[&known, &unknown], 1);
    acquired(unknown.begin());
    assert_eq!(database.number("SELECT count(*) FROM bulkhead_machines"), 2);
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn a_restart_on_the_same_machine_goes_on_at_once() {
    let (database, mut replica) = running();
    replica.restart(&database);
    assert_eq!(replica.held_ms(), 0);
    acquired(replica.begin());
}

/// While it runs, and while no process was there to see it.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn a_jump_of_the_clock_is_taken_out_and_waited_for() {
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
            assert!((after - before).abs() <= 2, "the store's time runs on");
            pass(&database, &[&replica], TAKEN_MS - 1);
            assert_eq!(replica.begin(), later(1));
            pass(&database, &[&replica], 1);
            acquired(replica.begin());
        }
    }
}

/// The slot of a call that ends while the clock is wrong is not freed by it.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn a_call_that_ends_after_a_jump_frees_nothing_early() {
    let (database, replica) = running();
    let tried = acquired(replica.begin());
    database.step(-HOUR_MS);
    wait(replica.store.finish_attempt(
        tried,
        SlotEnd::Settled,
        Outcome::Again { after_ms: 0 },
        Vec::new(),
        replica.now(),
    ))
    .expect("finished");
    let now = database.number("SELECT ms + shift_ms FROM clock, bulkhead_meta");
    let free_at = database.number("SELECT max(free_at) FROM bulkhead_slots");
    assert!((free_at - now - 61_000).abs() <= 2, "{}", free_at - now);
    let due_at = database.number("SELECT due_at FROM bulkhead_messages");
    assert!((due_at - now).abs() <= 2);
}

/// What one began another may end. Whoever has just come does not know that the clock is wrong.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn who_does_not_know_the_clock_frees_no_slot() {
    let (database, known) = running();
    let tried = acquired(known.begin());
    database.step(-HOUR_MS);
    let unknown = Replica::new(&database, "b", 77_000_000);
    wait(unknown.store.finish_attempt(
        tried,
        SlotEnd::Settled,
        Outcome::Again { after_ms: 0 },
        Vec::new(),
        unknown.now(),
    ))
    .expect("finished");
    known.heartbeat();
    let now = database.number("SELECT ms + shift_ms FROM clock, bulkhead_meta");
    let free_at = database.number("SELECT max(free_at) FROM bulkhead_slots");
    assert!(free_at - now >= 61_000, "{}", free_at - now);
}

/// One of two machines was stopped for a while: one corrects the other, and then they agree.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn machines_that_differ_come_to_agree() {
    let (database, a) = running();
    let b = Replica::new(&database, "b", 900_000);
    pass(&database, &[&a, &b], TAKEN_MS);
    assert_eq!((a.held_ms(), b.held_ms()), (0, 0));
    // Twenty seconds pass for all but b.
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

/// The server was started anew, or is another one: claims may be lost.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn another_incarnation_of_the_database_is_waited_for() {
    let (database, replica) = running();
    database.run("UPDATE bulkhead_meta SET incarnation = 'as it was before'");
    assert_eq!(replica.begin(), later(71_000));
    pass(&database, &[&replica], TAKEN_MS);
    acquired(replica.begin());
}

/// A clock that was a day ahead while calls were claimed, and was put right while nobody was there
/// whose machine is still the same.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn slots_that_were_taken_by_a_wrong_clock_come_back() {
    let (database, replica) = running();
    drop(replica);
    database.run("UPDATE bulkhead_slots SET free_at = free_at + 86400000");
    let replica = Replica::new(&database, "another start", 5);
    pass(&database, &[&replica], TAKEN_MS);
    accept(&replica.store, 9, "n").expect("stored");
    // They are taken as if they had been claimed just now.
    assert!(matches!(replica.begin(), Claim::RetryAfter { after_ms: Some(ms) } if ms <= 71_000));
}
