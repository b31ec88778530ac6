//! What is shown, and what is removed.

use super::{Bench, Case, Machine, QUOTA, wait};
use crate::{Listed, NotificationOutcome, Redelivery, RequestId, StoreStats};

const RETENTION_MS: i64 = 90 * 24 * 60 * 60_000;

fn list(case: &Case<'_>, which: Listed, max: u32) -> Vec<RequestId> {
    let views = wait(case.bench.store().list(which, max, case.bench.now())).expect("asked");
    for view in &views {
        assert_eq!(*view, case.view(&view.id), "as its caller sees it");
    }
    views.into_iter().map(|view| view.id).collect()
}

fn sweep(case: &Case<'_>, max: u32) -> u64 {
    let (store, now) = (case.bench.store(), case.bench.now());
    wait(store.sweep(RETENTION_MS.unsigned_abs(), max, now)).expect("swept")
}

pub(crate) fn lists_are_of_the_youngest_first(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    let signed = case.signed("signed", Some("a"));
    let parked = case.due(9, &[]).pop().expect("due");
    case.park(&parked);
    // A clock that was set back does not make it older.
    case.pass(1000);
    case.bench.step_wall(-60 * 60_000);
    let failed = case.pending("failed", Some("b"));
    let claimed = case.begin().expect("a try");
    case.refuse(&claimed);
    case.pass(1000);
    let [first, second] = ["x", "y"].map(|message| case.pending(message, None));
    let shared = case.pending("x", Some("a"));
    let all = [&shared, &second, &first, &failed, &signed].map(Clone::clone);
    assert_eq!(list(&case, Listed::All, 9), all);
    assert_eq!(list(&case, Listed::All, 2), all[..2]);
    assert_eq!(list(&case, Listed::Pending, 9), all[..3]);
    assert_eq!(list(&case, Listed::Pending, 1), all[..1]);
    assert_eq!(list(&case, Listed::Failed, 9), [failed]);
    assert_eq!(list(&case, Listed::Parked, 9), [signed]);
    assert_eq!(list(&case, Listed::All, 0), []);
}

pub(crate) fn the_standing_counts_what_there_is(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let empty = StoreStats {
        slots_free: 3,
        ..StoreStats::default()
    };
    assert_eq!(case.stats(), empty);
    case.pending("a", Some("a"));
    case.pass(1000);
    case.pending("b", Some("a"));
    case.pass(1000);
    let claimed = case.begin().expect("a try");
    let busy = StoreStats {
        backlog: 2,
        oldest_age_ms: Some(2000),
        slots_free: 2,
        ..StoreStats::default()
    };
    assert_eq!(case.stats(), busy);
    case.again(&claimed, 0);
    assert_eq!(case.stats(), busy);
    for claimed in case.begin_all() {
        case.sign(&claimed);
    }
    let telling = StoreStats {
        notifications_pending: 2,
        ..StoreStats::default()
    };
    assert_eq!(case.stats(), telling);
    let told = case.due(1, &[]).pop().expect("due");
    assert_eq!(case.stats(), telling, "under way is not over");
    case.park(&told);
    let told = case.due(1, &[]).pop().expect("due");
    case.tell(&told, NotificationOutcome::Delivered)
        .expect("finished");
    let parked = StoreStats {
        notifications_parked: 1,
        ..StoreStats::default()
    };
    assert_eq!(case.stats(), parked);
    case.bench.crash(Machine::RunsOn, QUOTA);
    assert_eq!(case.stats(), parked);
}

pub(crate) fn a_sweep_removes_what_is_done_and_old(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    let silent = case.signed("m", None);
    let told = case.signed("n", Some("a"));
    let delivered = case.due(9, &[]).pop().expect("due");
    case.pass(1000);
    case.tell(&delivered, NotificationOutcome::Delivered)
        .expect("finished");
    case.pass(RETENTION_MS - 1000);
    let young = case.signed("o", None);
    assert_eq!(sweep(&case, 9), 0, "not more than that ago");
    case.pass(1);
    assert_eq!(sweep(&case, 9), 2);
    assert_eq!((case.find(&silent), case.find(&told)), (None, None));
    assert!(case.find(&young).is_some());
    // Whoever asks now begins anew.
    assert_eq!(
        wait(case.bench.store().signature("m".into())).expect("asked"),
        None
    );
    let again = case.signed("m", None);
    assert_ne!(again, silent);
    assert_eq!(case.view(&again).tries, 1);
}

pub(crate) fn a_sweep_leaves_what_somebody_waits_for(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    let parked = case.signed("parked", Some("a"));
    let notification = case.due(9, &[]).pop().expect("due");
    let untold = case.signed("untold", Some("b"));
    let waiting = case.pending("waiting", Some("c"));
    // Of a message whose other request somebody is to be told of.
    let shared = case.pending("shared", None);
    let sharing = case.pending("shared", Some("d"));
    for claimed in case.begin_all() {
        if claimed.message == "shared" {
            case.sign(&claimed);
        } else {
            case.again(&claimed, 0);
        }
    }
    case.pass(RETENTION_MS);
    // Its lease has expired long since; it is tried again, and parked now.
    drop(notification);
    let notification = case.due(1, &["b", "d"]).pop().expect("due");
    case.park(&notification);
    case.pass(1);
    assert_eq!(sweep(&case, 9), 1, "the one that nobody is told of");
    assert_eq!(case.find(&shared), None);
    for id in [&parked, &untold, &waiting, &sharing] {
        assert!(case.find(id).is_some());
    }
    case.pass(RETENTION_MS - 1);
    assert_eq!(sweep(&case, 9), 0, "it was parked just that long ago");
    assert_eq!(case.stats().notifications_parked, 1);
    let redelivered = case
        .bench
        .store()
        .redeliver(parked.clone(), case.bench.now());
    assert_eq!(wait(redelivered).expect("asked"), Redelivery::Due);
    case.pass(1);
    assert_eq!(sweep(&case, 9), 0, "it is pending again");
    let again = case.due(9, &["b", "d"]).pop().expect("due");
    case.park(&again);
    case.pass(RETENTION_MS + 1);
    assert_eq!(sweep(&case, 9), 1);
    assert_eq!(case.find(&parked), None);
    let stats = case.stats();
    assert_eq!((stats.backlog, stats.notifications_parked), (1, 0));
    assert_eq!(stats.notifications_pending, 2);
    assert_eq!(case.due(9, &[]).len(), 2);
    assert_eq!(case.begin().expect("a try").message, "waiting");
}

pub(crate) fn a_sweep_takes_small_steps(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    let ids: Vec<_> = (0..5)
        .map(|n| {
            case.pass(1);
            case.signed(&n.to_string(), None)
        })
        .collect();
    case.pass(RETENTION_MS + 1);
    assert_eq!(sweep(&case, 2), 2);
    let left = ids.iter().map(|id| case.find(id).is_some());
    let left: Vec<_> = left.collect();
    assert_eq!(left, [false, false, true, true, true], "the oldest first");
    assert_eq!(
        (sweep(&case, 2), sweep(&case, 2), sweep(&case, 2)),
        (2, 1, 0)
    );
}
