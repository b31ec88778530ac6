//! Leases of attempts.

use super::{Bench, Case, Machine, QUOTA, acquired, wait};
use crate::{MessageState, Outcome, SlotEnd, StoreError};

/// Time after which an unfinished attempt is repeated: the maximum time of its call, the margin,
/// and ten seconds.
const LEASE_MS: i64 = 21_000;

pub(crate) fn crash_forgets_no_call_and_no_message(bench: &mut dyn Bench) {
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

pub(crate) fn late_outcome_changes_nothing(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let id = case.pending("m", None);
    let before = case.begin().expect("an attempt should be claimed");
    case.bench.crash(Machine::RunsOn, QUOTA);
    case.pass(QUOTA.claim_ms());
    let after = case.begin().expect("another attempt should be claimed");
    let signed = |text: &str| Outcome::Signed(text.into());
    for outcome in [signed("late"), Outcome::Retry { after_ms: 0 }] {
        let late = case.finish(&before, SlotEnd::Settled, outcome);
        assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    }
    assert_eq!(case.view(&id).state, MessageState::Pending);
    assert_eq!(case.view(&id).attempts, 0);
    case.sign(&after);
    let twice = case.finish(&after, SlotEnd::Settled, signed("twice"));
    assert!(matches!(twice, Err(StoreError::LeaseLost)), "{twice:?}");
    let view = case.view(&id);
    assert_eq!(view.state, MessageState::Signed("sig of m".into()));
    assert_eq!(view.attempts, 1);

    // A failed attempt has ended, too.
    case.pending("n", None);
    let claimed = case.begin().expect("an attempt should be claimed");
    case.again(&claimed, 0);
    let twice = case.finish(&claimed, SlotEnd::Settled, signed("twice"));
    assert!(matches!(twice, Err(StoreError::LeaseLost)), "{twice:?}");
}

pub(crate) fn unfinished_attempt_is_repeated(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    case.pending("m", None);
    let before = case.begin().expect("an attempt should be claimed");
    case.pass(LEASE_MS - 1);
    assert_eq!(case.begin(), None);
    case.pass(1);
    let after = case.begin().expect("another slot should be free");
    assert_eq!((after.message.as_str(), after.number), ("m", 1));
    assert_ne!(after.slot, before.slot);
    case.sign(&after);
}

pub(crate) fn expired_lease_is_valid_until_next_claim(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let id = case.pending("m", None);
    let claimed = case.begin().expect("an attempt should be claimed");
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
    let mut attempts = vec![case.begin().expect("an attempt should be claimed")];
    for _ in 0..2 {
        let now = case.bench.now();
        attempts.extend(acquired(
            wait(other.claim_attempt(now)).expect("call should succeed"),
        ));
    }
    let messages: Vec<_> = attempts
        .iter()
        .map(|claimed| claimed.message.as_str())
        .collect();
    assert_eq!(messages, ["a", "b", "c"]);
    let now = case.bench.now();
    assert_eq!(
        acquired(wait(other.claim_attempt(now)).expect("call should succeed")),
        None
    );
    assert_eq!(case.begin(), None);
    // An attempt can be finished by another replica, and every replica finds the signature.
    case.sign(&attempts[1]);
    let known = wait(other.signature("b".into())).expect("call should succeed");
    assert_eq!(known, Some("sig of b".into()));
    // The attempts of a dead replica are taken over.
    drop(other);
    case.sign(&attempts[0]);
    case.pass(QUOTA.claim_ms());
    let rest: Vec<_> = case.begin_all().into_iter().map(|b| b.message).collect();
    assert_eq!(rest, ["c", "d"]);
}
