//! Which message is tried next, and when calls may be made.

use super::{Bench, Case, Machine, QUOTA, acquired, later, wait};
use crate::{BootMillis, Claim, Quota, SlotEnd};

pub(crate) fn fresh_messages_come_before_failed_ones_until_those_are_aged(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    case.pending("failed", None);
    let claimed = case.begin().expect("a try");
    case.again(&claimed, 1000);
    case.pass(500);
    assert_eq!(case.begin(), None, "not due yet");
    case.pass(500);
    case.pending("fresh", None);
    let fresh = case.begin().expect("a try");
    assert_eq!(fresh.message, "fresh");
    let failed = case.begin().expect("a try");
    assert_eq!((failed.message.as_str(), failed.number), ("failed", 2));
    case.again(&fresh, 0);
    case.again(&failed, 1000);
    case.pass(10 * 60_000);
    case.pending("young", None);
    let order: Vec<_> = case.begin_all().into_iter().map(|b| b.message).collect();
    assert_eq!(order, ["fresh", "failed", "young"]);
}

pub(crate) fn slots_come_back_a_window_after_their_call(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let opened = case.bench.now().boot.0;
    let calls: Vec<_> = std::iter::from_fn(|| case.check()).collect();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].send_before, BootMillis(opened + 10_000));
    case.pass(2000);
    case.end(&calls[0], SlotEnd::Settled);
    case.end(&calls[1], SlotEnd::Unknown);
    case.pass(60_999);
    assert_eq!(case.check(), None);
    case.pass(1);
    assert!(case.check().is_some(), "the one that was answered");
    assert_eq!(case.check(), None);
    case.pass(7999);
    assert_eq!(case.check(), None, "the other two may have been made late");
    case.pass(1);
    assert!(case.check().is_some() && case.check().is_some());
    assert_eq!(case.check(), None);
}

pub(crate) fn the_end_of_a_claim_before_ends_nothing(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let calls: Vec<_> = std::iter::from_fn(|| case.check()).collect();
    case.pass(QUOTA.taken_ms());
    let later_calls: Vec<_> = std::iter::from_fn(|| case.check()).collect();
    assert_eq!(later_calls.len(), 3);
    for call in &calls {
        case.end(call, SlotEnd::Settled);
    }
    case.pass(QUOTA.taken_ms() - 1);
    assert_eq!(case.check(), None);
    case.pass(1);
    assert!(case.check().is_some());
}

pub(crate) fn a_hold_outlasts_calls_that_end_and_crashes(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    case.pending("m", None);
    let claimed = case.begin().expect("a try");
    for for_ms in [600_000, 1000] {
        let now = case.bench.now();
        wait(case.bench.store().hold_calls(for_ms, now)).expect("held");
    }
    case.again(&claimed, 0);
    case.bench.crash(Machine::RunsOn, QUOTA);
    assert_eq!(case.stats().held_ms, 600_000);
    case.pass(599_999);
    assert_eq!((case.begin(), case.check()), (None, None));
    assert_eq!(case.ask(), later(1));
    case.pass(1);
    assert_eq!(case.stats().held_ms, 0);
    assert!(case.begin().is_some());
}

pub(crate) fn checks_leave_slots_to_messages_that_wait(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    case.pending("m", None);
    let check = acquired(case.ask_check(1)).expect("a slot");
    assert_eq!(case.ask_check(1), later(71_000), "as many as may be");
    case.pass(1000);
    case.end(&check, SlotEnd::Settled);
    assert_eq!(case.ask_check(1), later(61_000), "its slot is still taken");
    assert_eq!(
        case.ask_check(0),
        Claim::RetryAfter { after_ms: None },
        "not while messages wait"
    );
    case.pass(61_000);
    assert!(acquired(case.ask_check(1)).is_some());
    // Tries are no checks.
    let tried = case.begin().expect("a try");
    assert!(acquired(case.ask_check(2)).is_some());
    assert_eq!(case.begin(), None);
    case.sign(&tried);
    case.pass(QUOTA.taken_ms());
    let checks = std::iter::from_fn(|| acquired(case.ask_check(1))).count();
    assert_eq!(checks, 3, "nobody waits for them");
}

pub(crate) fn who_is_told_later_is_told_exactly_when(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let never = Claim::RetryAfter { after_ms: None };
    assert_eq!(case.ask(), never, "nothing waits");
    case.pending("m", None);
    let claimed = case.begin().expect("a try");
    case.pass(500);
    case.again(&claimed, 5000);
    case.pass(1000);
    assert_eq!(
        case.ask(),
        later(4000),
        "slots are free, the message is not due"
    );
    let calls: Vec<_> = std::iter::from_fn(|| case.check()).collect();
    assert_eq!(calls.len(), 2);
    // One slot was answered at 500, the message is due at 5500: the slot is later.
    assert_eq!(case.ask(), later(60_000));
    assert_eq!(case.ask_check(9), later(60_000));
    case.pass(59_999);
    assert_eq!(case.ask(), later(1));
    case.pass(1);
    let claimed = case.begin().expect("a try");
    case.again(&claimed, 100_000);
    // The others were never answered: they are free before the message is due.
    assert_eq!(case.ask(), later(100_000));
    case.pending("fresh", None);
    assert_eq!(case.ask(), later(11_000), "their slots");
    case.pass(11_000);
    let claimed = case.begin().expect("a try");
    assert_eq!(claimed.message, "fresh");
    let now = case.bench.now();
    wait(case.bench.store().hold_calls(200_000, now)).expect("held");
    assert_eq!(case.ask(), later(200_000));
    assert_eq!(case.ask_check(9), later(200_000));
    case.sign(&claimed);
    case.pass(200_000);
    let claimed = case.begin().expect("a try");
    assert_eq!(case.ask(), never, "the only message is being tried");
    case.sign(&claimed);
    assert_eq!(case.ask(), never);
}

pub(crate) fn a_new_store_waits_for_what_a_lost_one_may_have_called(bench: &mut dyn Bench) {
    let mut case = Case {
        bench,
        ids: 0,
        elapsed_ms: 0,
    };
    case.pending("m", None);
    assert_eq!(case.stats().held_ms, 61_000);
    case.pass(60_999);
    assert_eq!((case.begin(), case.check()), (None, None));
    case.pass(1);
    assert!(case.begin().is_some());
}

pub(crate) fn fewer_calls_and_more_again_forget_none(bench: &mut dyn Bench) {
    let quota = |calls| Quota { calls, ..QUOTA };
    let mut case = Case::new(bench);
    for message in 0..9 {
        case.pending(&message.to_string(), None);
    }
    assert_eq!(case.begin_all().len(), 3);
    case.bench.crash(Machine::RunsOn, quota(1));
    case.pass(1000);
    assert_eq!(case.begin(), None);
    case.bench.crash(Machine::RunsOn, quota(3));
    assert_eq!(case.begin(), None, "all three calls may have been made");
    case.bench.crash(Machine::RunsOn, quota(5));
    assert_eq!(case.begin_all().len(), 2);
    case.bench.crash(Machine::RunsOn, quota(1));
    case.pass(QUOTA.taken_ms() - 1001);
    assert_eq!(case.begin(), None);
    case.pass(1);
    assert_eq!(case.begin(), None, "two are still taken");
    case.pass(1000);
    assert_eq!(case.begin_all().len(), 1);
    case.pass(QUOTA.taken_ms());
    case.bench.crash(Machine::RunsOn, quota(2));
    assert_eq!(case.begin_all().len(), 2);
}

pub(crate) fn a_longer_window_holds_for_calls_before_it(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    case.pending("m", None);
    let call = case.check().expect("a slot");
    case.end(&call, SlotEnd::Settled);
    // It is free again: with a window of a minute, that call is forgotten.
    case.pass(QUOTA.spared_ms());
    let longer = Quota {
        window_ms: 300_000,
        ..QUOTA
    };
    case.bench.crash(Machine::RunsOn, longer);
    // The call must be a window ago.
    case.pass(300_000 - QUOTA.spared_ms() - 1);
    assert_eq!((case.begin(), case.check()), (None, None));
    case.pass(QUOTA.spared_ms() + 1001);
    assert!(case.begin().is_some());
}

pub(crate) fn a_longer_window_counts_calls_that_are_under_way(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    for message in ["a", "b", "c"] {
        case.pending(message, None);
    }
    assert_eq!(case.begin_all().len(), 3);
    let longer = Quota {
        window_ms: 300_000,
        ..QUOTA
    };
    case.bench.crash(Machine::RunsOn, longer);
    // The system may still send what the process had written.
    case.pass(longer.taken_ms() - 1);
    assert_eq!((case.begin(), case.check()), (None, None));
    case.pass(1);
    assert_eq!(case.begin_all().len(), 3);
}
