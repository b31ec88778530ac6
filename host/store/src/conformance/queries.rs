//! Queries, statistics and sweeps.

use super::{Bench, Case, Machine, QUOTA, wait};
use crate::{NotificationOutcome, Redelivery, RequestFilter, RequestId, RequestQuery, StoreStats};

const RETENTION_MS: i64 = 90 * 24 * 60 * 60_000;

fn list(case: &Case<'_>, which: RequestFilter, max: u32) -> Vec<RequestId> {
    let (store, now) = (case.bench.store(), case.bench.now());
    let views = wait(store.list(RequestQuery::newest(which, max), now));
    let views = views.expect("call should succeed");
    let views = views.expect("the query should not name a request");
    for view in &views {
        assert_eq!(
            *view,
            case.view(&view.id),
            "the list should show what the request shows"
        );
    }
    views.into_iter().map(|view| view.id).collect()
}

fn sweep(case: &Case<'_>, max: u32) -> u64 {
    let (store, now) = (case.bench.store(), case.bench.now());
    wait(store.sweep(RETENTION_MS.unsigned_abs(), max, now)).expect("sweep should succeed")
}

pub(crate) fn lists_begin_with_newest_request(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    let signed = case.signed("signed", Some("a"));
    let parked = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    case.park(&parked);
    // A clock that was set back does not change the order.
    case.pass(1000);
    case.bench.step_wall(-60 * 60_000);
    let failed = case.pending("failed", Some("b"));
    let claimed = case.begin().expect("an attempt should be claimed");
    case.fail(&claimed);
    case.pass(1000);
    let [first, second] = ["x", "y"].map(|message| case.pending(message, None));
    let shared = case.pending("x", Some("a"));
    let all = [&shared, &second, &first, &failed, &signed].map(Clone::clone);
    assert_eq!(list(&case, RequestFilter::All, 9), all);
    assert_eq!(list(&case, RequestFilter::All, 2), all[..2]);
    assert_eq!(list(&case, RequestFilter::Pending, 9), all[..3]);
    assert_eq!(list(&case, RequestFilter::Pending, 1), all[..1]);
    let only = std::slice::from_ref(&signed);
    assert_eq!(list(&case, RequestFilter::Signed, 9), only);
    assert_eq!(list(&case, RequestFilter::Failed, 9), [failed]);
    assert_eq!(list(&case, RequestFilter::Parked, 9), only);
    assert_eq!(list(&case, RequestFilter::All, 0), []);
}

pub(crate) fn statistics_are_exact(bench: &mut dyn Bench) {
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
    let claimed = case.begin().expect("an attempt should be claimed");
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
    let notification = case
        .due(1, &[])
        .pop()
        .expect("a notification should be due");
    assert_eq!(
        case.stats(),
        telling,
        "an active notification is still pending"
    );
    case.park(&notification);
    let notification = case
        .due(1, &[])
        .pop()
        .expect("a notification should be due");
    case.finish_notification(&notification, NotificationOutcome::Delivered)
        .expect("outcome should be stored");
    let parked = StoreStats {
        notifications_parked: 1,
        ..StoreStats::default()
    };
    assert_eq!(case.stats(), parked);
    case.bench.crash(Machine::RunsOn, QUOTA);
    assert_eq!(case.stats(), parked);
}

pub(crate) fn sweep_removes_old_finished_requests(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    let silent = case.signed("m", None);
    let with_callback = case.signed("n", Some("a"));
    let delivered = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    case.pass(1000);
    case.finish_notification(&delivered, NotificationOutcome::Delivered)
        .expect("outcome should be stored");
    case.pass(RETENTION_MS - 1000);
    let young = case.signed("o", None);
    assert_eq!(
        sweep(&case, 9),
        0,
        "the retention period has not yet passed"
    );
    case.pass(1);
    assert_eq!(sweep(&case, 9), 2);
    assert_eq!(
        (case.find(&silent), case.find(&with_callback)),
        (None, None)
    );
    assert!(case.find(&young).is_some());
    // A new request for the message starts from the beginning.
    assert_eq!(
        wait(case.bench.store().signature("m".into())).expect("call should succeed"),
        None
    );
    let again = case.signed("m", None);
    assert_ne!(again, silent);
    assert_eq!(case.view(&again).attempts, 1);
}

pub(crate) fn sweep_keeps_pending_requests(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    let parked = case.signed("parked", Some("a"));
    let notification = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    let untold = case.signed("untold", Some("b"));
    let waiting = case.pending("waiting", Some("c"));
    // Its message has another request, whose notification is pending.
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
    // The lease has expired. The notification is claimed again and parked now.
    drop(notification);
    let notification = case
        .due(1, &["b", "d"])
        .pop()
        .expect("a notification should be due");
    case.park(&notification);
    case.pass(1);
    assert_eq!(
        sweep(&case, 9),
        1,
        "only the request without a callback is removed"
    );
    assert_eq!(case.find(&shared), None);
    for id in [&parked, &untold, &waiting, &sharing] {
        assert!(case.find(id).is_some());
    }
    case.pass(RETENTION_MS - 1);
    assert_eq!(
        sweep(&case, 9),
        0,
        "the retention period has not yet passed"
    );
    assert_eq!(case.stats().notifications_parked, 1);
    let redelivered = case
        .bench
        .store()
        .redeliver(parked.clone(), case.bench.now());
    assert_eq!(
        wait(redelivered).expect("call should succeed"),
        Redelivery::Due
    );
    case.pass(1);
    assert_eq!(sweep(&case, 9), 0, "it is pending again");
    let again = case
        .due(9, &["b", "d"])
        .pop()
        .expect("a notification should be due");
    case.park(&again);
    case.pass(RETENTION_MS + 1);
    assert_eq!(sweep(&case, 9), 1);
    assert_eq!(case.find(&parked), None);
    let stats = case.stats();
    assert_eq!((stats.backlog, stats.notifications_parked), (1, 0));
    assert_eq!(stats.notifications_pending, 2);
    assert_eq!(case.due(9, &[]).len(), 2);
    assert_eq!(
        case.begin().expect("an attempt should be claimed").message,
        "waiting"
    );
}

pub(crate) fn sweep_removes_limited_number_of_requests(bench: &mut dyn Bench) {
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
