//! Requests and their messages.

use super::{Bench, Case, Machine, QUOTA, UNBOUNDED, trace_of, wait};
use crate::{Accepted, BacklogMax, MessageState, NewRequest, RequestId, UnixMillis};
use std::thread::ScopedJoinHandle;

pub(crate) fn requests_for_same_message_share_it(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let first = case.pending("m", None);
    assert_eq!(case.pending("m", None), first);
    let with_callback = case.pending("m", Some("a"));
    assert_ne!(with_callback, first);
    assert_eq!(case.pending("m", Some("a")), with_callback);
    assert_ne!(case.pending("m", Some("b")), with_callback);
    assert_eq!(case.stats().backlog, 1);
    assert_eq!(case.view(&with_callback).state, MessageState::Pending);

    let accepted_at = case.bench.now().wall;
    case.pass(1000);
    let claimed = case.begin().expect("an attempt should be claimed");
    assert_eq!((claimed.message.as_str(), claimed.number), ("m", 1));
    assert_eq!(claimed.created_at, accepted_at);
    assert_eq!(
        claimed.trace,
        Some(trace_of(&first)),
        "the trace of the first request"
    );
    assert_eq!(case.begin(), None);
    case.sign(&claimed);
    assert_eq!(case.stats().backlog, 0);
    for id in [&first, &with_callback] {
        let view = case.view(id);
        assert_eq!(view.state, MessageState::Signed("sig of m".into()));
        assert_eq!((view.message.as_str(), view.attempts), ("m", 1));
        assert_eq!(view.created_at, accepted_at);
    }
    let signed = Accepted::Signed {
        id: first,
        signature: "sig of m".into(),
    };
    assert_eq!(case.accept("m", Some("c")), signed);
    assert_eq!(case.accept("m", None), signed);
    assert_eq!(case.find(&RequestId::new(UnixMillis(0), 99)), None);
}

pub(crate) fn callers_of_finished_message_share_one_request(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let first = case.pending("m", Some("a"));
    let claimed = case.begin().expect("an attempt should be claimed");
    case.fail(&claimed);
    let Accepted::Failed { id, error } = case.accept("m", Some("a")) else {
        panic!("not failed");
    };
    assert_eq!(error, "no");
    assert_ne!(id, first, "that one has a callback");
    let same = Accepted::Failed {
        id: id.clone(),
        error,
    };
    assert_eq!(case.accept("m", None), same);
    let view = case.view(&id);
    assert_eq!(view.state, MessageState::Failed("no".into()));
    assert_eq!(view.notification, None);
}

/// A backlog of two pending messages.
const TWO: BacklogMax = BacklogMax {
    messages: 2,
    ..UNBOUNDED
};

pub(crate) fn full_backlog_rejects_only_new_messages(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let stored = |accepted| matches!(accepted, Accepted::Pending(_));
    assert!(stored(case.accept_up_to(TWO, "a", None)));
    assert!(stored(case.accept_up_to(TWO, "b", None)));
    assert_eq!(case.accept_up_to(TWO, "c", None), Accepted::BacklogFull);
    assert!(stored(case.accept_up_to(TWO, "a", Some("a"))));
    case.bench.crash(Machine::RunsOn, QUOTA);
    assert_eq!(case.accept_up_to(TWO, "c", None), Accepted::BacklogFull);
    let claimed = case.begin().expect("an attempt should be claimed");
    case.again(&claimed, 0);
    assert_eq!(case.accept_up_to(TWO, "c", None), Accepted::BacklogFull);
    let claimed = case.begin().expect("an attempt should be claimed");
    case.sign(&claimed);
    assert!(stored(case.accept_up_to(TWO, "c", None)));
}

pub(crate) fn message_accepts_limited_number_of_callers(bench: &mut dyn Bench) {
    const THREE: BacklogMax = BacklogMax {
        callers: 3,
        ..UNBOUNDED
    };
    let mut case = Case::new(bench);
    let stored = |accepted| matches!(accepted, Accepted::Pending(_));
    for callback in [None, Some("a"), Some("b")] {
        assert!(stored(case.accept_up_to(THREE, "m", callback)));
    }
    assert_eq!(
        case.accept_up_to(THREE, "m", Some("c")),
        Accepted::CallersFull
    );
    let rejected = case.find(&RequestId::new(UnixMillis(0), case.ids));
    assert_eq!(rejected, None, "nothing was stored");
    // Existing requests and other messages are accepted.
    assert!(stored(case.accept_up_to(THREE, "m", Some("b"))));
    assert!(stored(case.accept_up_to(THREE, "another", Some("c"))));
    let claimed = case.begin().expect("an attempt should be claimed");
    case.sign(&claimed);
    let signed = case.accept_up_to(THREE, "m", Some("c"));
    assert!(matches!(signed, Accepted::Signed { .. }), "{signed:?}");
}

pub(crate) fn signature_is_found_by_message(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let signature = |case: &Case<'_>, message: &str| {
        wait(case.bench.store().signature(message.into())).expect("call should succeed")
    };
    case.pending("m", None);
    assert_eq!(signature(&case, "m"), None);
    let claimed = case.begin().expect("an attempt should be claimed");
    case.sign(&claimed);
    case.pending("refused", None);
    let claimed = case.begin().expect("an attempt should be claimed");
    case.fail(&claimed);
    assert_eq!(signature(&case, "m"), Some("sig of m".into()));
    assert_eq!(signature(&case, "refused"), None);
    assert_eq!(signature(&case, "M"), None);
}

pub(crate) fn concurrent_callers_share_message_and_have_own_requests(bench: &mut dyn Bench) {
    const CALLERS: usize = 6;
    const MESSAGES: usize = 10;
    let mut case = Case::new(bench);
    let mut of_caller = |caller: usize| -> Vec<NewRequest> {
        let host = caller.to_string();
        // Each message occurs once with a callback and once without.
        (0..2 * MESSAGES)
            .map(|n| case.new_request(&(n / 2).to_string(), (n % 2 == 0).then_some(&host)))
            .collect()
    };
    let requests: Vec<Vec<NewRequest>> = (0..CALLERS).map(&mut of_caller).collect();
    let (store, now) = (case.bench.store(), case.bench.now());
    let accept = |new: &NewRequest| match wait(store.accept(new.clone(), UNBOUNDED, now)) {
        Ok(Accepted::Pending(id)) => id,
        other => panic!("{other:?}"),
    };
    let ids: Vec<Vec<RequestId>> = std::thread::scope(|scope| {
        let accept = &accept;
        let callers: Vec<_> = requests
            .iter()
            .map(|requests| scope.spawn(move || requests.iter().map(accept).collect()))
            .collect();
        let ended = callers.into_iter().map(ScopedJoinHandle::join);
        ended
            .map(|ids| ids.expect("thread should not panic"))
            .collect()
    });
    assert_eq!(case.stats().backlog, MESSAGES as u64);
    for message in 0..MESSAGES {
        let (with, without) = (2 * message, 2 * message + 1);
        for (of_one, requests) in ids.iter().zip(&requests) {
            assert_eq!(
                of_one[with], requests[with].id,
                "the request with the callback belongs to its caller"
            );
            assert_eq!(case.view(&of_one[with]).message, message.to_string());
            assert_eq!(of_one[without], ids[0][without]);
        }
    }
}
