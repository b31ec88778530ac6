//! The order of messages, and the times of calls.

use super::{Bench, Case, Machine, QUOTA, acquired, later, wait};
use crate::{BootMillis, Claim, Quota, SlotEnd};

pub(crate) fn fresh_messages_precede_failed_ones_until_aged(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    case.pending("failed", None);
    let claimed = case.begin().expect("an attempt should be claimed");
    case.again(&claimed, 1000);
    case.pass(500);
    assert_eq!(case.begin(), None, "not due yet");
    case.pass(500);
    case.pending("fresh", None);
    let fresh = case.begin().expect("an attempt should be claimed");
    assert_eq!(fresh.message, "fresh");
    let failed = case.begin().expect("an attempt should be claimed");
    assert_eq!((failed.message.as_str(), failed.number), ("failed", 2));
    case.again(&fresh, 0);
    case.again(&failed, 1000);
    case.pass(10 * 60_000);
    case.pending("young", None);
    let order: Vec<_> = case.begin_all().into_iter().map(|b| b.message).collect();
    assert_eq!(order, ["fresh", "failed", "young"]);
}

pub(crate) fn slot_is_free_one_window_after_its_call(bench: &mut dyn Bench) {
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
    assert!(case.check().is_some(), "the slot of the ended call");
    assert_eq!(case.check(), None);
    case.pass(7999);
    assert_eq!(
        case.check(),
        None,
        "the other two calls may have been sent late"
    );
    case.pass(1);
    assert!(case.check().is_some() && case.check().is_some());
    assert_eq!(case.check(), None);
}

pub(crate) fn end_of_earlier_claim_has_no_effect(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let calls: Vec<_> = std::iter::from_fn(|| case.check()).collect();
    case.pass(QUOTA.claim_ms());
    let later_calls: Vec<_> = std::iter::from_fn(|| case.check()).collect();
    assert_eq!(later_calls.len(), 3);
    for call in &calls {
        case.end(call, SlotEnd::Settled);
    }
    case.pass(QUOTA.claim_ms() - 1);
    assert_eq!(case.check(), None);
    case.pass(1);
    assert!(case.check().is_some());
}

pub(crate) fn hold_survives_ended_calls_and_crashes(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    case.pending("m", None);
    let claimed = case.begin().expect("an attempt should be claimed");
    for for_ms in [600_000, 1000] {
        let now = case.bench.now();
        wait(case.bench.store().hold_calls(for_ms, now)).expect("hold should be stored");
    }
    case.again(&claimed, 0);
    case.bench.crash(Machine::RunsOn, QUOTA);
    assert_eq!(case.stats().held_ms, 600_000);
    case.pass(599_999);
    assert_eq!((case.begin(), case.check()), (None, None));
    assert_eq!(case.claim(), later(1));
    case.pass(1);
    assert_eq!(case.stats().held_ms, 0);
    assert!(case.begin().is_some());
}

pub(crate) fn checks_leave_slots_for_pending_messages(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    case.pending("m", None);
    let check = acquired(case.claim_check(1)).expect("a slot should be claimed");
    assert_eq!(
        case.claim_check(1),
        later(71_000),
        "the limit of checks is reached"
    );
    case.pass(1000);
    case.end(&check, SlotEnd::Settled);
    assert_eq!(
        case.claim_check(1),
        later(61_000),
        "its slot is still taken"
    );
    assert_eq!(
        case.claim_check(0),
        Claim::RetryAfter { after_ms: None },
        "no checks while messages are pending"
    );
    case.pass(61_000);
    assert!(acquired(case.claim_check(1)).is_some());
    // Attempts do not count as checks.
    let tried = case.begin().expect("an attempt should be claimed");
    assert!(acquired(case.claim_check(2)).is_some());
    assert_eq!(case.begin(), None);
    case.sign(&tried);
    case.pass(QUOTA.claim_ms());
    let checks = std::iter::from_fn(|| acquired(case.claim_check(1))).count();
    assert_eq!(checks, 3, "no message is pending");
}

pub(crate) fn retry_after_is_exact(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let never = Claim::RetryAfter { after_ms: None };
    assert_eq!(case.claim(), never, "no message is pending");
    case.pending("m", None);
    let claimed = case.begin().expect("an attempt should be claimed");
    case.pass(500);
    case.again(&claimed, 5000);
    case.pass(1000);
    assert_eq!(
        case.claim(),
        later(4000),
        "slots are free, the message is not due"
    );
    let calls: Vec<_> = std::iter::from_fn(|| case.check()).collect();
    assert_eq!(calls.len(), 2);
    // One call has ended at 500 ms, and its message is due at 5500 ms. The slot is free later.
    assert_eq!(case.claim(), later(60_000));
    assert_eq!(case.claim_check(9), later(60_000));
    case.pass(59_999);
    assert_eq!(case.claim(), later(1));
    case.pass(1);
    let claimed = case.begin().expect("an attempt should be claimed");
    case.again(&claimed, 100_000);
    // The other calls have not ended. Their slots are free before the message is due.
    assert_eq!(case.claim(), later(100_000));
    case.pending("fresh", None);
    assert_eq!(case.claim(), later(11_000), "their slots");
    case.pass(11_000);
    let claimed = case.begin().expect("an attempt should be claimed");
    assert_eq!(claimed.message, "fresh");
    let now = case.bench.now();
    wait(case.bench.store().hold_calls(200_000, now)).expect("hold should be stored");
    assert_eq!(case.claim(), later(200_000));
    assert_eq!(case.claim_check(9), later(200_000));
    case.sign(&claimed);
    case.pass(200_000);
    let claimed = case.begin().expect("an attempt should be claimed");
    assert_eq!(
        case.claim(),
        never,
        "the only message has an active attempt"
    );
    case.sign(&claimed);
    assert_eq!(case.claim(), never);
}

pub(crate) fn new_store_waits_for_calls_of_lost_store(bench: &mut dyn Bench) {
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

pub(crate) fn changed_number_of_calls_forgets_no_call(bench: &mut dyn Bench) {
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
    case.pass(QUOTA.claim_ms() - 1001);
    assert_eq!(case.begin(), None);
    case.pass(1);
    assert_eq!(case.begin(), None, "two are still taken");
    case.pass(1000);
    assert_eq!(case.begin_all().len(), 1);
    case.pass(QUOTA.claim_ms());
    case.bench.crash(Machine::RunsOn, quota(2));
    assert_eq!(case.begin_all().len(), 2);
}

pub(crate) fn longer_window_delays_calls_after_earlier_ones(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    case.pending("m", None);
    let call = case.check().expect("a slot should be claimed");
    case.end(&call, SlotEnd::Settled);
    // The slot is free again, because the call is older than a window of one minute.
    case.pass(QUOTA.cooldown_ms());
    let longer = Quota {
        window_ms: 300_000,
        ..QUOTA
    };
    case.bench.crash(Machine::RunsOn, longer);
    // The earlier call must be older than the new window.
    case.pass(300_000 - QUOTA.cooldown_ms() - 1);
    assert_eq!((case.begin(), case.check()), (None, None));
    case.pass(QUOTA.cooldown_ms() + 1001);
    assert!(case.begin().is_some());
}

pub(crate) fn longer_window_counts_active_calls(bench: &mut dyn Bench) {
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
    // The operating system may still send the data that the process has written.
    case.pass(longer.claim_ms() - 1);
    assert_eq!((case.begin(), case.check()), (None, None));
    case.pass(1);
    assert_eq!(case.begin_all().len(), 3);
}
