//! Clocks that step and machines that restart.

use super::{Bench, Case, Machine, QUOTA, later};
use crate::{Claim, NotificationOutcome, SlotEnd};

pub(crate) fn steps_of_the_wall_clock_change_no_plan(bench: &mut dyn Bench) {
    const HOUR_MS: i64 = 60 * 60_000;
    let mut case = Case::with_many_calls(bench);
    for step_ms in [HOUR_MS, -HOUR_MS, -2 * HOUR_MS, 2 * HOUR_MS] {
        let message = format!("m{step_ms}");
        let id = case.signed(&format!("told{step_ms}"), Some("a"));
        let told = case.due(9, &[]).pop().expect("due");
        let again = NotificationOutcome::Again {
            after_ms: 5000,
            why: "not there".into(),
        };
        case.tell(&told, again).expect("finished");
        case.pending(&message, None);
        let claimed = case.begin().expect("a try");
        case.again(&claimed, 5000);
        let checks: Vec<_> = std::iter::from_fn(|| case.check()).collect();
        assert!(!checks.is_empty());
        case.end(&checks[0], SlotEnd::Settled);
        let before = case.stats();

        case.bench.step_wall(step_ms);
        assert_eq!(
            case.stats(),
            before,
            "ages and holds are of the other clock"
        );
        let view = case.view(&id).notification.expect("told");
        assert_eq!(view.next_try_at, Some(case.wall(5000)), "by the caller's");
        case.pass(4999);
        assert_eq!(case.ask_due(9, &[]), later(1));
        assert_eq!(case.ask(), later(QUOTA.spared_ms().unsigned_abs() - 4999));
        case.pass(1);
        let told = case.due(9, &[]).pop().expect("due");
        assert_eq!(told.number, 2);
        case.tell(&told, NotificationOutcome::Delivered)
            .expect("finished");
        case.pass(QUOTA.spared_ms() - 5001);
        assert_eq!(case.check(), None);
        assert_eq!(case.ask(), later(1));
        case.pass(1);
        let claimed = case.begin().expect("due, and a slot");
        assert_eq!(claimed.message, message);
        case.sign(&claimed);
        // All slots again.
        case.pass(QUOTA.taken_ms());
    }
}

/// How long it waits before it makes calls again is its own: it may know more or less of them.
pub(crate) fn after_a_restart_of_the_machine_all_is_done_in_the_end(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let told = case.signed("told", Some("a"));
    let notification = case.due(9, &[]).pop().expect("due");
    let again = NotificationOutcome::Again {
        after_ms: 10 * 60_000,
        why: "not there".into(),
    };
    case.tell(&notification, again).expect("finished");
    case.pending("again", None);
    let claimed = case.begin().expect("a try");
    case.again(&claimed, 10 * 60_000);
    case.pending("begun", None);
    case.begin().expect("a try");
    case.pending("fresh", None);
    case.bench.crash(Machine::Restarts, QUOTA);
    assert_eq!(case.stats().backlog, 3);
    case.pass(10 * 60_000 + QUOTA.taken_ms());
    let mut order: Vec<_> = case.begin_all().into_iter().map(|b| b.message).collect();
    order.sort();
    assert_eq!(order, ["again", "begun", "fresh"]);
    let notification = case.due(9, &[]).pop().expect("due");
    assert_eq!(
        (notification.lease.request.clone(), notification.number),
        (told, 2)
    );
    assert_eq!(case.ask(), Claim::RetryAfter { after_ms: None });
}
