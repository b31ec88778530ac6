//! Telling callers what became of their requests.

use super::{Bench, Case, Machine, QUOTA, later, trace_of, wait};
use crate::{
    Claim, Notification, NotificationOutcome, NotificationState, Outcome, Redelivery, RequestId,
    SlotEnd, StoreError, UnixMillis,
};

const LEASE_MS: i64 = 60_000;

fn redeliver(case: &Case<'_>, id: &RequestId) -> Redelivery {
    wait(case.bench.store().redeliver(id.clone(), case.bench.now())).expect("asked")
}

fn hosts(tries: Vec<Notification>) -> Vec<String> {
    tries.into_iter().map(|told| told.callback.host).collect()
}

fn not_there(after_ms: u64) -> NotificationOutcome {
    NotificationOutcome::Again {
        after_ms,
        why: "not there".into(),
    }
}

pub(crate) fn a_request_that_two_callers_share_is_told_of(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let [shared, alone] = ["a", "b"].map(|host| case.pending("m", Some(host)));
    assert_eq!(case.pending("m", Some("a")), shared);
    let claimed = case.begin().expect("a try");
    let signed = Outcome::Signed("sig".into());
    let (store, now) = (case.bench.store(), case.bench.now());
    let answers = vec![shared.clone(), alone.clone()];
    wait(store.finish_attempt(claimed, SlotEnd::Settled, signed, answers, now)).expect("finished");
    assert_eq!(case.told(&shared), Some((NotificationState::Pending, 0)));
    assert_eq!(case.told(&alone), None);
}

pub(crate) fn everybody_who_waits_is_told_but_who_was_answered(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let silent = case.pending("m", None);
    let [a, b, answered] = ["a", "b", "c"].map(|host| case.pending("m", Some(host)));
    assert_eq!(case.told(&a), Some((NotificationState::Pending, 0)));
    assert_eq!(case.ask_due(9, &[]), Claim::RetryAfter { after_ms: None });
    let claimed = case.begin().expect("a try");
    case.pass(10);
    let finished_at = case.wall(0);
    let signed = Outcome::Signed("sig".into());
    let (store, now) = (case.bench.store(), case.bench.now());
    let answers = vec![answered.clone()];
    wait(store.finish_attempt(claimed, SlotEnd::Settled, signed, answers, now)).expect("finished");
    assert_eq!((case.told(&silent), case.told(&answered)), (None, None));

    case.pass(10);
    let tries = case.due(9, &[]);
    let mut requests: Vec<_> = tries.iter().map(|t| t.lease.request.clone()).collect();
    requests.sort();
    assert_eq!(requests, [a.clone(), b]);
    for told in &tries {
        assert_eq!(told.message, "m");
        assert_eq!(told.outcome, Ok("sig".into()));
        assert_eq!(told.callback.url, format!("http://{}/", told.callback.host));
        assert_eq!((told.number, told.finished_at), (1, finished_at));
        assert_eq!(told.first_try_at, case.wall(0));
        assert_eq!(told.trace, Some(trace_of(&told.lease.request)));
    }
    assert_eq!(case.due(9, &[]), [], "under way");
    for told in &tries {
        case.tell(told, NotificationOutcome::Delivered)
            .expect("finished");
    }
    assert_eq!(case.told(&a), Some((NotificationState::Delivered, 1)));
    assert_eq!(case.ask_due(9, &[]), Claim::RetryAfter { after_ms: None });
}

pub(crate) fn a_notification_is_tried_until_it_is_delivered_or_parked(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let id = case.pending("m", Some("a"));
    let claimed = case.begin().expect("a try");
    case.refuse(&claimed);
    let first = case.due(9, &[]).pop().expect("due");
    assert_eq!((first.number, &first.outcome), (1, &Err("no".into())));
    case.tell(&first, not_there(1000)).expect("finished");
    let view = case.view(&id).notification.expect("told");
    assert_eq!(view.state, NotificationState::Pending);
    assert_eq!((view.tries, view.last_error), (1, Some("not there".into())));
    assert_eq!(view.next_try_at, Some(case.wall(1000)));
    assert_eq!(case.ask_due(9, &[]), later(1000));
    case.pass(999);
    assert_eq!(case.ask_due(9, &[]), later(1));
    case.pass(1);
    let second = case.due(9, &[]).pop().expect("due");
    assert_eq!(second.number, 2);
    assert_eq!(second.first_try_at, first.first_try_at);
    case.park(&second);
    let view = case.view(&id).notification.expect("told");
    assert_eq!((view.state, view.tries), (NotificationState::Parked, 2));
    assert_eq!(
        (view.next_try_at, view.last_error),
        (None, Some("gone".into()))
    );
    let late = case.tell(&second, NotificationOutcome::Delivered);
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    case.pass(365 * 24 * 60 * 60_000);
    assert_eq!(case.ask_due(9, &[]), Claim::RetryAfter { after_ms: None });
}

pub(crate) fn a_redelivery_begins_anew_at_any_time(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    assert_eq!(
        redeliver(&case, &RequestId::new(UnixMillis(0), 77)),
        Redelivery::None
    );
    let silent = case.pending("m", None);
    let id = case.pending("m", Some("a"));
    assert_eq!(redeliver(&case, &id), Redelivery::None, "nothing to tell");
    let claimed = case.begin().expect("a try");
    case.sign(&claimed);
    assert_eq!(redeliver(&case, &silent), Redelivery::None);

    // While it is parked.
    let told = case.due(9, &[]).pop().expect("due");
    case.park(&told);
    case.pass(1000);
    assert_eq!(redeliver(&case, &id), Redelivery::Due);
    assert_eq!(case.told(&id), Some((NotificationState::Pending, 0)));
    let told = case.due(9, &[]).pop().expect("due");
    assert_eq!((told.number, told.first_try_at), (1, case.wall(0)));
    // While it waits for its next try.
    case.tell(&told, not_there(60_000)).expect("finished");
    assert_eq!(redeliver(&case, &id), Redelivery::Due);
    let under_way = case.due(9, &[]).pop().expect("due");
    assert_eq!(under_way.number, 1);
    // While it is tried.
    assert_eq!(redeliver(&case, &id), Redelivery::Due);
    let late = case.tell(&under_way, not_there(60_000));
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    let told = case.due(9, &[]).pop().expect("due");
    case.tell(&told, NotificationOutcome::Delivered)
        .expect("finished");
    // When it was delivered.
    assert_eq!(redeliver(&case, &id), Redelivery::Due);
    let told = case.due(9, &[]).pop().expect("due");
    case.tell(&told, NotificationOutcome::Delivered)
        .expect("finished");
    assert_eq!(case.told(&id), Some((NotificationState::Delivered, 1)));
    let stats = case.stats();
    let counted = (stats.notifications_pending, stats.notifications_parked);
    assert_eq!(counted, (0, 0));
}

pub(crate) fn a_busy_host_holds_up_no_other(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    for (message, host) in [("1", "a"), ("2", "a"), ("3", "b"), ("4", "c")] {
        case.signed(message, Some(host));
        case.pass(1);
    }
    assert_eq!(hosts(case.due(1, &["a"])), ["b"]);
    let none: [String; 0] = [];
    assert_eq!(hosts(case.due(9, &["a", "c"])), none);
    assert_eq!(
        case.ask_due(9, &["a", "c"]),
        Claim::RetryAfter { after_ms: None }
    );
    let told = case.due(9, &["a"]).pop().expect("of c");
    case.tell(&told, not_there(5000)).expect("finished");
    assert_eq!(case.ask_due(9, &["a"]), later(5000));
    assert_eq!(hosts(case.due(9, &[])), ["a", "a"]);
    assert_eq!(case.ask_due(9, &["b"]), later(5000), "others are under way");
    assert_eq!(
        case.ask_due(9, &["c"]),
        Claim::RetryAfter { after_ms: None }
    );
}

pub(crate) fn the_oldest_notifications_come_first(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    // Of a, b, a, c, b, a, in this order.
    let order = ["a", "b", "a", "c", "b", "a"];
    for (number, host) in order.iter().enumerate() {
        case.signed(&number.to_string(), Some(host));
        case.pass(1);
    }
    assert_eq!(hosts(case.due(2, &[])), ["a", "b"]);
    assert_eq!(hosts(case.due(3, &[])), ["a", "c", "b"]);
    let last = case.due(9, &[]).pop().expect("due");
    assert_eq!(last.message, "5");
}

pub(crate) fn a_crash_tells_again_and_whoever_is_late_changes_nothing(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let id = case.signed("m", Some("a"));
    let before = case.due(9, &[]).pop().expect("due");
    case.bench.crash(Machine::RunsOn, QUOTA);
    case.pass(LEASE_MS);
    let after = case.due(9, &[]).pop().expect("due again");
    assert_eq!((after.number, after.first_try_at), (1, before.first_try_at));
    let late = case.tell(&before, NotificationOutcome::Delivered);
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    assert_eq!(case.told(&id), Some((NotificationState::Pending, 0)));
    case.tell(&after, NotificationOutcome::Delivered)
        .expect("finished");
    assert_eq!(case.told(&id), Some((NotificationState::Delivered, 1)));
}

pub(crate) fn a_notification_that_nobody_finishes_is_made_again(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let id = case.signed("m", Some("a"));
    assert_eq!(case.due(9, &[]).len(), 1);
    case.pass(LEASE_MS - 1);
    assert_eq!(case.due(9, &[]), []);
    case.pass(1);
    let told = case.due(9, &[]).pop().expect("due again");
    // Late, but nobody else has begun.
    case.pass(2 * LEASE_MS);
    case.tell(&told, NotificationOutcome::Delivered)
        .expect("finished");
    assert_eq!(case.told(&id), Some((NotificationState::Delivered, 1)));
    assert_eq!(case.due(9, &[]), []);
}
