//! Clocks that step and machines that restart.

use super::{Bench, Case, Machine, QUOTA, later};
use crate::{Claim, NotificationOutcome, SlotEnd};

pub(crate) fn wall_clock_steps_change_no_due_time(bench: &mut dyn Bench) {
    const HOUR_MS: i64 = 60 * 60_000;
    let mut case = Case::with_many_calls(bench);
    for step_ms in [HOUR_MS, -HOUR_MS, -2 * HOUR_MS, 2 * HOUR_MS] {
        let message = format!("m{step_ms}");
        let id = case.signed(&format!("notification{step_ms}"), Some("a"));
        let notification = case
            .due(9, &[])
            .pop()
            .expect("a notification should be due");
        let again = NotificationOutcome::Retry {
            after_ms: 5000,
            why: "not there".into(),
        };
        case.finish_notification(&notification, again)
            .expect("outcome should be stored");
        case.pending(&message, None);
        let claimed = case.begin().expect("an attempt should be claimed");
        case.again(&claimed, 5000);
        let checks: Vec<_> = std::iter::from_fn(|| case.check()).collect();
        assert!(!checks.is_empty());
        case.end(&checks[0], SlotEnd::Settled);
        let before = case.stats();

        case.bench.step_wall(step_ms);
        assert_eq!(
            case.stats(),
            before,
            "ages and holds do not depend on the wall clock"
        );
        let view = case
            .view(&id)
            .notification
            .expect("a notification should exist");
        assert_eq!(
            view.next_attempt_at,
            Some(case.wall(5000)),
            "by the wall clock"
        );
        case.pass(4999);
        assert_eq!(case.claim_due(9, &[]), later(1));
        assert_eq!(
            case.claim(),
            later(QUOTA.cooldown_ms().unsigned_abs() - 4999)
        );
        case.pass(1);
        let notification = case
            .due(9, &[])
            .pop()
            .expect("a notification should be due");
        assert_eq!(notification.number, 2);
        case.finish_notification(&notification, NotificationOutcome::Delivered)
            .expect("outcome should be stored");
        case.pass(QUOTA.cooldown_ms() - 5001);
        assert_eq!(case.check(), None);
        assert_eq!(case.claim(), later(1));
        case.pass(1);
        let claimed = case.begin().expect("an attempt should be claimed");
        assert_eq!(claimed.message, message);
        case.sign(&claimed);
        // All slots become free.
        case.pass(QUOTA.claim_ms());
    }
}

/// The delay until the first call depends on the store, which may know more or less about earlier
/// calls.
pub(crate) fn all_work_is_completed_after_machine_restart(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let with_callback = case.signed("with callback", Some("a"));
    let notification = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    let again = NotificationOutcome::Retry {
        after_ms: 10 * 60_000,
        why: "not there".into(),
    };
    case.finish_notification(&notification, again)
        .expect("outcome should be stored");
    case.pending("again", None);
    let claimed = case.begin().expect("an attempt should be claimed");
    case.again(&claimed, 10 * 60_000);
    case.pending("begun", None);
    case.begin().expect("an attempt should be claimed");
    case.pending("fresh", None);
    case.bench.crash(Machine::Restarts, QUOTA);
    assert_eq!(case.stats().backlog, 3);
    case.pass(10 * 60_000 + QUOTA.claim_ms());
    let mut order: Vec<_> = case.begin_all().into_iter().map(|b| b.message).collect();
    order.sort();
    assert_eq!(order, ["again", "begun", "fresh"]);
    let notification = case
        .due(9, &[])
        .pop()
        .expect("a notification should be due");
    assert_eq!(
        (notification.lease.request.clone(), notification.number),
        (with_callback, 2)
    );
    assert_eq!(case.claim(), Claim::RetryAfter { after_ms: None });
}
