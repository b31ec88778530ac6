//! The queues of callers: the calls of the upstream are distributed over them.

use super::{Bench, Case, Machine, QUOTA};
use crate::Quota;

const MANY: Quota = Quota {
    calls: 100,
    ..QUOTA
};

/// Claims the next attempt, and lets it end with a retry after `after_ms`.
fn call(case: &Case<'_>, after_ms: u64) -> String {
    let claimed = case.begin().expect("an attempt should be claimed");
    case.again(&claimed, after_ms);
    claimed.message
}

pub(crate) fn backlog_delays_first_message_of_another_caller_by_one_call(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    for (large, small) in [("a", "b"), ("z", "y"), ("", "x")] {
        for number in 0..20 {
            let message = format!("{large}{number}");
            if large.is_empty() {
                case.pending(&message, None);
            } else {
                case.pending_from(large, &message, None);
            }
        }
        // The next turn may be that of the large backlog.
        for _ in 0..3 {
            let claimed = case.begin().expect("an attempt should be claimed");
            case.sign(&claimed);
        }
        let urgent = format!("urgent of {small}");
        case.pending_from(small, &urgent, None);
        let claimed = [case.begin(), case.begin()].map(|it| it.expect("a claim").message);
        assert!(claimed.contains(&urgent), "{claimed:?}");
        case.pass(i64::from(MANY.window_ms) * 3);
        while let Some(claimed) = case.begin() {
            case.sign(&claimed);
        }
        assert_eq!(case.stats().backlog, 0);
        case.pass(i64::from(MANY.window_ms) * 3);
    }
}

pub(crate) fn queues_have_one_call_each_per_round(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    for (owner, count) in [("a", 9), ("b", 2), ("c", 3)] {
        for number in 0..count {
            case.pending_from(owner, &format!("{owner}{number}"), None);
        }
    }
    case.pending("0", None);
    let called: Vec<_> = (0..10).map(|_| call(&case, 60_000)).collect();
    assert_eq!(
        called,
        ["a0", "b0", "c0", "0", "a1", "b1", "c1", "a2", "c2", "a3"]
    );
}

pub(crate) fn queue_without_due_message_loses_its_turn(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    case.pending_from("a", "a0", None);
    for number in 0..4 {
        case.pending_from("b", &format!("b{number}"), None);
    }
    assert_eq!(call(&case, 5000), "a0");
    let called: Vec<_> = (0..2).map(|_| call(&case, 60_000)).collect();
    assert_eq!(called, ["b0", "b1"], "a0 is not due");
    case.pass(5000);
    let called: Vec<_> = (0..2).map(|_| call(&case, 60_000)).collect();
    assert_eq!(called, ["a0", "b2"]);
}

pub(crate) fn round_continues_after_crash(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    for owner in ["a", "b", "c"] {
        for number in 0..2 {
            case.pending_from(owner, &format!("{owner}{number}"), None);
        }
    }
    assert_eq!(call(&case, 60_000), "a0");
    case.bench.crash(Machine::RunsOn, MANY);
    assert_eq!(call(&case, 60_000), "b0");
    case.bench.crash(Machine::RunsOn, MANY);
    let called: Vec<_> = (0..3).map(|_| call(&case, 60_000)).collect();
    assert_eq!(called, ["c0", "a1", "b1"]);
}

/// A message that several callers requested is called once. It does not wait behind the backlog of the caller
/// that requested it first.
pub(crate) fn shared_message_is_called_once_in_the_shorter_queue(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    for number in 0..9 {
        case.pass(1);
        case.pending_from("a", &format!("a{number}"), None);
    }
    assert_eq!(call(&case, 60_000), "a0");
    case.pass(1);
    case.pending_from("b", "a7", None);
    // `a1` is the first message of its queue, so that it does not move.
    case.pending_from("b", "a1", None);
    // `a0` has failed once, and waits behind all other messages of its queue, so that it moves.
    case.pending_from("c", "a0", None);
    let called: Vec<_> = (0..2).map(|_| call(&case, 60_000)).collect();
    assert_eq!(called, ["a7", "a1"]);
    case.pass(60_000);
    let called: Vec<_> = (0..4).map(|_| call(&case, 120_000)).collect();
    assert_eq!(called, ["a7", "a0", "a2", "a3"]);
}
