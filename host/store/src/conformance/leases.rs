//! Who may finish a try.

use super::{Bench, Case, Machine, QUOTA, acquired, wait};
use crate::{MessageState, Outcome, SlotEnd, StoreError};

/// From when on a try that nobody finishes is made again: when its call is over, and ten seconds.
const LEASE_MS: i64 = 21_000;

pub(crate) fn a_crash_forgets_no_call_and_no_message(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    for message in ["a", "b", "c", "d"] {
        case.pending(message, None);
    }
    assert_eq!(case.begin_all().len(), 3);
    case.bench.crash(Machine::RunsOn, QUOTA);
    assert_eq!(case.stats().backlog, 4);
    case.pass(70_999);
    assert_eq!(case.begin(), None, "their calls may have been made");
    case.pass(1);
    let again = case.begin_all();
    assert_eq!(again.len(), 3);
    assert_eq!((again[0].message.as_str(), again[0].number), ("a", 1));
}

pub(crate) fn whoever_comes_late_changes_nothing(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let id = case.pending("m", None);
    let before = case.begin().expect("a try");
    case.bench.crash(Machine::RunsOn, QUOTA);
    case.pass(QUOTA.taken_ms());
    let after = case.begin().expect("another try");
    let signed = |text: &str| Outcome::Signed(text.into());
    for outcome in [signed("late"), Outcome::Again { after_ms: 0 }] {
        let late = case.finish(&before, SlotEnd::Settled, outcome);
        assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    }
    assert_eq!(case.view(&id).state, MessageState::Pending);
    assert_eq!(case.view(&id).tries, 0);
    case.sign(&after);
    let twice = case.finish(&after, SlotEnd::Settled, signed("twice"));
    assert!(matches!(twice, Err(StoreError::LeaseLost)), "{twice:?}");
    let view = case.view(&id);
    assert_eq!(view.state, MessageState::Signed("sig of m".into()));
    assert_eq!(view.tries, 1);

    // A try that came to nothing is over as well.
    case.pending("n", None);
    let claimed = case.begin().expect("a try");
    case.again(&claimed, 0);
    let twice = case.finish(&claimed, SlotEnd::Settled, signed("twice"));
    assert!(matches!(twice, Err(StoreError::LeaseLost)), "{twice:?}");
}

pub(crate) fn a_try_that_nobody_finishes_is_made_again(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    case.pending("m", None);
    let before = case.begin().expect("a try");
    case.pass(LEASE_MS - 1);
    assert_eq!(case.begin(), None);
    case.pass(1);
    let after = case.begin().expect("another slot is free");
    assert_eq!((after.message.as_str(), after.number), ("m", 1));
    assert_ne!(after.slot, before.slot);
    case.sign(&after);
}

pub(crate) fn an_expired_lease_counts_until_another_is_given(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let id = case.pending("m", None);
    let claimed = case.begin().expect("a try");
    case.pass(2 * LEASE_MS);
    case.sign(&claimed);
    let signed = MessageState::Signed("sig of m".into());
    assert_eq!(case.view(&id).state, signed);
    assert_eq!(case.begin(), None);
}

pub(crate) fn replicas_share_slots_and_messages(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let Some(other) = case.bench.replica() else {
        return;
    };
    for message in ["a", "b", "c", "d"] {
        case.pending(message, None);
    }
    let mut tries = vec![case.begin().expect("a try")];
    for _ in 0..2 {
        let now = case.bench.now();
        tries.extend(acquired(wait(other.claim_attempt(now)).expect("asked")));
    }
    let messages: Vec<_> = tries
        .iter()
        .map(|claimed| claimed.message.as_str())
        .collect();
    assert_eq!(messages, ["a", "b", "c"]);
    let now = case.bench.now();
    assert_eq!(
        acquired(wait(other.claim_attempt(now)).expect("asked")),
        None
    );
    assert_eq!(case.begin(), None);
    // What one began the other may write down, and what one of them signed all of them know.
    case.sign(&tries[1]);
    let known = wait(other.signature("b".into())).expect("asked");
    assert_eq!(known, Some("sig of b".into()));
    // A replica that dies leaves its tries to the others.
    drop(other);
    case.sign(&tries[0]);
    case.pass(QUOTA.taken_ms());
    let rest: Vec<_> = case.begin_all().into_iter().map(|b| b.message).collect();
    assert_eq!(rest, ["c", "d"]);
}
