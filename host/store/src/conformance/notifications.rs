//! Notifications of callers about the results of their requests.

use super::{Bench, Case, Machine, QUOTA, later, trace_of, wait};
use crate::{
    Claim, Notification, NotificationOutcome, NotificationState, Outcome, Redelivery, RequestId,
    SlotEnd, StoreError, UnixMillis,
};

const LEASE_MS: i64 = 60_000;

fn redeliver(case: &Case<'_>, id: &RequestId) -> Redelivery {
    wait(case.bench.store().redeliver(id.clone(), case.bench.now())).expect("call should succeed")
}

fn hosts(notifications: Vec<Notification>) -> Vec<String> {
    notifications
        .into_iter()
        .map(|notification| notification.callback.host)
        .collect()
}

fn not_there(after_ms: u64) -> NotificationOutcome {
    NotificationOutcome::Retry {
        after_ms,
        why: "not there".into(),
    }
}

pub(crate) fn shared_request_is_notified(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let [shared, alone] = ["a", "b"].map(|host| case.pending("m", Some(host)));
    assert_eq!(case.pending("m", Some("a")), shared);
    let claimed = case.begin().expect("an attempt should be claimed");
    let signed = Outcome::Signed("sig".into());
    let (store, now) = (case.bench.store(), case.bench.now());
    let answers = vec![shared.clone(), alone.clone()];
    wait(store.finish_attempt(claimed, SlotEnd::Settled, signed, answers, now))
        .expect("outcome should be stored");
    assert_eq!(
        case.notification_state(&shared),
        Some((NotificationState::Pending, 0))
    );
    assert_eq!(case.notification_state(&alone), None);
}

pub(crate) fn waiting_requests_except_answered_ones_are_notified(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let silent = case.pending("m", None);
    let [a, b, answered] = ["a", "b", "c"].map(|host| case.pending("m", Some(host)));
    assert_eq!(
        case.notification_state(&a),
        Some((NotificationState::Pending, 0))
    );
    assert_eq!(case.claim_due(9, &[]), Claim::RetryAfter { after_ms: None });
    let claimed = case.begin().expect("an attempt should be claimed");
    case.pass(10);
    let finished_at = case.wall(0);
    let signed = Outcome::Signed("sig".into());
    let (store, now) = (case.bench.store(), case.bench.now());
    let answers = vec![answered.clone()];
    wait(store.finish_attempt(claimed, SlotEnd::Settled, signed, answers, now))
        .expect("outcome should be stored");
    assert_eq!(
        (
            case.notification_state(&silent),
            case.notification_state(&answered)
        ),
        (None, None)
    );

    case.pass(10);
    let notifications = case.due(9, &[]);
    let mut requests: Vec<_> = notifications
        .iter()
        .map(|t| t.lease.request.clone())
        .collect();
    requests.sort();
    assert_eq!(requests, [a.clone(), b]);
    for notification in &notifications {
        assert_eq!(notification.message, "m");
        assert_eq!(notification.outcome, Ok("sig".into()));
        assert_eq!(
            notification.callback.url,
            format!("http://{}/", notification.callback.host)
        );
        assert_eq!(
            (notification.number, notification.finished_at),
            (1, finished_at)
        );
        assert_eq!(notification.first_attempt_at, case.wall(0));
        assert_eq!(
            notification.trace,
            Some(trace_of(&notification.lease.request))
        );
    }
    assert_eq!(case.due(9, &[]), [], "under way");
    for notification in &notifications {
        case.finish_notification(notification, NotificationOutcome::Delivered)
            .expect("outcome should be stored");
    }
    assert_eq!(
        case.notification_state(&a),
        Some((NotificationState::Delivered, 1))
    );
    assert_eq!(case.claim_due(9, &[]), Claim::RetryAfter { after_ms: None });
}

pub(crate) fn notification_is_repeated_until_delivered_or_parked(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let id = case.pending("m", Some("a"));
    let claimed = case.begin().expect("an attempt should be claimed");
    case.fail(&claimed);
    let first = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    assert_eq!((first.number, &first.outcome), (1, &Err("no".into())));
    case.finish_notification(&first, not_there(1000))
        .expect("outcome should be stored");
    let view = case
        .view(&id)
        .notification
        .expect("a notification should exist");
    assert_eq!(view.state, NotificationState::Pending);
    assert_eq!(
        (view.attempts, view.last_error),
        (1, Some("not there".into()))
    );
    assert_eq!(view.next_attempt_at, Some(case.wall(1000)));
    assert_eq!(case.claim_due(9, &[]), later(1000));
    case.pass(999);
    assert_eq!(case.claim_due(9, &[]), later(1));
    case.pass(1);
    let second = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    assert_eq!(second.number, 2);
    assert_eq!(second.first_attempt_at, first.first_attempt_at);
    case.park(&second);
    let view = case
        .view(&id)
        .notification
        .expect("a notification should exist");
    assert_eq!((view.state, view.attempts), (NotificationState::Parked, 2));
    assert_eq!(
        (view.next_attempt_at, view.last_error),
        (None, Some("gone".into()))
    );
    let late = case.finish_notification(&second, NotificationOutcome::Delivered);
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    case.pass(365 * 24 * 60 * 60_000);
    assert_eq!(case.claim_due(9, &[]), Claim::RetryAfter { after_ms: None });
}

pub(crate) fn redelivery_restarts_notification_in_any_state(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    assert_eq!(
        redeliver(&case, &RequestId::new(UnixMillis(0), 77)),
        Redelivery::NotFound
    );
    let silent = case.pending("m", None);
    let id = case.pending("m", Some("a"));
    assert_eq!(
        redeliver(&case, &id),
        Redelivery::NotFound,
        "there is no result yet"
    );
    let claimed = case.begin().expect("an attempt should be claimed");
    case.sign(&claimed);
    assert_eq!(redeliver(&case, &silent), Redelivery::NotFound);

    // The notification is parked.
    let notification = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    case.park(&notification);
    case.pass(1000);
    assert_eq!(redeliver(&case, &id), Redelivery::Due);
    assert_eq!(
        case.notification_state(&id),
        Some((NotificationState::Pending, 0))
    );
    let notification = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    assert_eq!(
        (notification.number, notification.first_attempt_at),
        (1, case.wall(0))
    );
    // The notification waits for its next attempt.
    case.finish_notification(&notification, not_there(60_000))
        .expect("outcome should be stored");
    case.pass(1000);
    assert_eq!(redeliver(&case, &id), Redelivery::Due);
    let under_way = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    assert_eq!(under_way.number, 1);
    // The notification has an active attempt.
    case.pass(1000);
    assert_eq!(redeliver(&case, &id), Redelivery::Due);
    let late = case.finish_notification(&under_way, not_there(60_000));
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    let notification = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    case.finish_notification(&notification, NotificationOutcome::Delivered)
        .expect("outcome should be stored");
    // The notification was delivered.
    case.pass(1000);
    assert_eq!(redeliver(&case, &id), Redelivery::Due);
    let notification = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    case.finish_notification(&notification, NotificationOutcome::Delivered)
        .expect("outcome should be stored");
    assert_eq!(
        case.notification_state(&id),
        Some((NotificationState::Delivered, 1))
    );
    let stats = case.stats();
    let counted = (stats.notifications_pending, stats.notifications_parked);
    assert_eq!(counted, (0, 0));
}

/// Five hundred calls in a second must not become five hundred webhooks.
pub(crate) fn redeliveries_of_a_request_are_a_second_apart(bench: &mut dyn Bench) {
    let too_soon = |after_ms| Redelivery::TooSoon { after_ms };
    let mut case = Case::new(bench);
    case.signed("m", Some("a"));
    case.signed("n", Some("a"));
    let mut due = case.due(9, &[]);
    assert_eq!(due.len(), 2);
    let [other, notification] = [due.remove(0), due.remove(0)];
    let (id, other_id) = (&notification.lease.request, &other.lease.request);
    // It was attempted just now.
    assert_eq!(redeliver(&case, id), too_soon(1000));
    case.finish_notification(&notification, NotificationOutcome::Delivered)
        .expect("outcome should be stored");
    case.pass(400);
    assert_eq!(redeliver(&case, id), too_soon(600));
    case.pass(600);
    assert_eq!(redeliver(&case, id), Redelivery::Due);
    // It is due and not attempted yet.
    assert_eq!(redeliver(&case, id), too_soon(1000));
    case.pass(999);
    assert_eq!(redeliver(&case, id), too_soon(1));
    // The second redelivery replaces the first one.
    case.pass(1);
    assert_eq!(redeliver(&case, id), Redelivery::Due);
    assert_eq!(case.due(9, &[]).len(), 1);
    assert_eq!(redeliver(&case, id), too_soon(1000));
    // Other requests are not affected.
    assert_eq!(redeliver(&case, other_id), Redelivery::Due);
}

pub(crate) fn busy_host_does_not_delay_others(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    for (message, host) in [("1", "a"), ("2", "a"), ("3", "b"), ("4", "c")] {
        case.signed(message, Some(host));
        case.pass(1);
    }
    assert_eq!(hosts(case.due(1, &["a"])), ["b"]);
    let none: [String; 0] = [];
    assert_eq!(hosts(case.due(9, &["a", "c"])), none);
    assert_eq!(
        case.claim_due(9, &["a", "c"]),
        Claim::RetryAfter { after_ms: None }
    );
    let notification = case
        .due(9, &["a"])
        .pop()
        .expect("the notification of host c should be due");
    case.finish_notification(&notification, not_there(5000))
        .expect("outcome should be stored");
    assert_eq!(case.claim_due(9, &["a"]), later(5000));
    assert_eq!(hosts(case.due(9, &[])), ["a", "a"]);
    assert_eq!(
        case.claim_due(9, &["b"]),
        later(5000),
        "the others have active attempts"
    );
    assert_eq!(
        case.claim_due(9, &["c"]),
        Claim::RetryAfter { after_ms: None }
    );
}

pub(crate) fn oldest_notifications_come_first(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    let order = ["a", "b", "a", "c", "b", "a"];
    for (number, host) in order.iter().enumerate() {
        case.signed(&number.to_string(), Some(host));
        case.pass(1);
    }
    assert_eq!(hosts(case.due(2, &[])), ["a", "b"]);
    assert_eq!(hosts(case.due(3, &[])), ["a", "c", "b"]);
    let last = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    assert_eq!(last.message, "5");
}

pub(crate) fn notification_is_repeated_after_crash(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let id = case.signed("m", Some("a"));
    let before = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    case.bench.crash(Machine::RunsOn, QUOTA);
    case.pass(LEASE_MS);
    let after = case
        .due(9, &[])
        .pop()
        .expect("the notification should be due again");
    assert_eq!(
        (after.number, after.first_attempt_at),
        (1, before.first_attempt_at)
    );
    let late = case.finish_notification(&before, NotificationOutcome::Delivered);
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    assert_eq!(
        case.notification_state(&id),
        Some((NotificationState::Pending, 0))
    );
    case.finish_notification(&after, NotificationOutcome::Delivered)
        .expect("outcome should be stored");
    assert_eq!(
        case.notification_state(&id),
        Some((NotificationState::Delivered, 1))
    );
}

pub(crate) fn unfinished_notification_is_repeated(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let id = case.signed("m", Some("a"));
    assert_eq!(case.due(9, &[]).len(), 1);
    case.pass(LEASE_MS - 1);
    assert_eq!(case.due(9, &[]), []);
    case.pass(1);
    let notification = case
        .due(9, &[])
        .pop()
        .expect("the notification should be due again");
    // The outcome is late, but no other attempt has begun.
    case.pass(2 * LEASE_MS);
    case.finish_notification(&notification, NotificationOutcome::Delivered)
        .expect("outcome should be stored");
    assert_eq!(
        case.notification_state(&id),
        Some((NotificationState::Delivered, 1))
    );
    assert_eq!(case.due(9, &[]), []);
}
