//! The owners of requests: a request is visible to its owner, and to viewers of all requests.

use super::{Bench, Case, UNBOUNDED, trace_of, wait};
use crate::{
    Accepted, BacklogMax, MessageState, NewRequest, NotificationState, Owner, RequestFilter,
    RequestId, RequestQuery, Viewer,
};

fn viewer(owner: &str) -> Viewer {
    Viewer::Owner(Owner::new(owner))
}

pub(crate) fn request_exists_only_for_its_owner(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let id = case.pending_from("a", "m", Some("host"));
    let check = |case: &Case<'_>| {
        for other in ["b", "A", "aa", "b a"] {
            assert_eq!(case.find_as(&viewer(other), &id), None, "{other}");
        }
        let own = case.find_as(&viewer("a"), &id);
        assert_eq!(
            own.clone().and_then(|view| view.owner),
            Some(Owner::new("a"))
        );
        assert_eq!(case.find(&id), own);
    };
    check(&case);
    let claimed = case.begin().expect("an attempt should be claimed");
    case.sign(&claimed);
    check(&case);
    assert_eq!(case.due(9, &[]).len(), 1);
}

pub(crate) fn requests_are_merged_only_within_an_owner(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    let owners = [None, Some("a"), Some("b")];
    let accept = |case: &mut Case<'_>, owner: Option<&str>, callback| match owner {
        Some(owner) => case.accept_from(owner, "m", callback),
        None => case.accept("m", callback),
    };
    let mut ids: Vec<RequestId> = Vec::new();
    for owner in owners {
        for callback in [None, Some("host")] {
            let Accepted::Pending(id) = accept(&mut case, owner, callback) else {
                panic!("not pending");
            };
            assert!(!ids.contains(&id), "{owner:?} {callback:?}");
            assert_eq!(
                accept(&mut case, owner, callback),
                Accepted::Pending(id.clone())
            );
            ids.push(id);
        }
    }
    assert_eq!(case.stats().backlog, 1, "the call is shared");
    let claimed = case.begin().expect("an attempt should be claimed");
    assert_eq!(claimed.trace, Some(trace_of(&ids[0])));
    assert_eq!(case.begin(), None);
    case.sign(&claimed);
    for id in &ids {
        assert_eq!(case.view(id).state, MessageState::Signed("sig of m".into()));
    }
    let notified: Vec<_> = case
        .due(9, &[])
        .into_iter()
        .map(|it| it.lease.request)
        .collect();
    assert_eq!(notified, [&ids[1], &ids[3], &ids[5]].map(Clone::clone));
    for (at, owner) in owners.into_iter().enumerate() {
        let Accepted::Signed { id, signature } = accept(&mut case, owner, Some("later")) else {
            panic!("not signed");
        };
        assert_eq!((&id, signature.as_str()), (&ids[2 * at], "sig of m"));
    }
    // An owner that has not requested the message gets an own id for the known result.
    let Accepted::Signed { id, .. } = case.accept_from("c", "m", None) else {
        panic!("not signed");
    };
    assert!(!ids.contains(&id));
    assert_eq!(case.find_as(&viewer("a"), &id), None);
    let own = case
        .find_as(&viewer("c"), &id)
        .expect("request should exist");
    assert_eq!((own.owner, own.notification), (Some(Owner::new("c")), None));
}

pub(crate) fn request_without_owner_is_visible_to_viewer_of_all_only(bench: &mut dyn Bench) {
    let mut case = Case::new(bench);
    let id = case.pending("m", Some("host"));
    assert_eq!(case.view(&id).owner, None);
    assert_eq!(case.find_as(&viewer("a"), &id), None);
    let own = case.pending_from("a", "m", Some("host"));
    assert_ne!(own, id);
    let claimed = case.begin().expect("an attempt should be claimed");
    case.sign(&claimed);
    let due = case.due(9, &[]);
    assert_eq!(due.len(), 2, "requests without an owner are delivered");
    for id in [&id, &own] {
        let state = case.notification_state(id);
        assert_eq!(state, Some((NotificationState::Pending, 0)));
    }
    assert_eq!(case.find_as(&viewer("a"), &id), None);
}

pub(crate) fn owner_accepts_limited_number_of_requests_for_a_message(bench: &mut dyn Bench) {
    const TWO: BacklogMax = BacklogMax {
        callers: 2,
        ..UNBOUNDED
    };
    let mut case = Case::new(bench);
    let mut accept = |owner: &str, host: &str| {
        let new = NewRequest {
            owner: Some(Owner::new(owner)),
            ..case.new_request("m", Some(host))
        };
        let now = case.bench.now();
        wait(case.bench.store().accept(new, TWO, now)).expect("store should respond")
    };
    for host in ["x", "y"] {
        assert!(matches!(accept("a", host), Accepted::Pending(_)));
    }
    assert_eq!(accept("a", "z"), Accepted::CallersFull);
    assert!(matches!(accept("b", "z"), Accepted::Pending(_)));
}

pub(crate) fn owner_has_limited_number_of_waiting_requests(bench: &mut dyn Bench) {
    const OWNED: BacklogMax = BacklogMax {
        messages: 4,
        owned: Some(2),
        ..UNBOUNDED
    };
    let mut case = Case::new(bench);
    let stored = |accepted| matches!(accepted, Accepted::Pending(_));
    let accept = |case: &mut Case<'_>, owner: Option<&str>, message: &str, host| {
        let new = NewRequest {
            owner: owner.map(Owner::new),
            ..case.new_request(message, host)
        };
        let now = case.bench.now();
        wait(case.bench.store().accept(new, OWNED, now)).expect("store should respond")
    };
    assert!(stored(accept(&mut case, Some("a"), "m", None)));
    assert!(stored(accept(&mut case, Some("b"), "n", None)));
    assert!(stored(accept(&mut case, Some("a"), "n", None)));
    // Neither a new message, nor a waiting one, nor another callback for an own one is accepted.
    for (message, host) in [("o", None), ("n", Some("host")), ("m", Some("host"))] {
        let accepted = accept(&mut case, Some("a"), message, host);
        assert_eq!(accepted, Accepted::OwnerFull, "{message}");
    }
    // Existing requests, other owners and requests without an owner are accepted.
    assert!(stored(accept(&mut case, Some("a"), "m", None)));
    assert!(stored(accept(&mut case, Some("b"), "m", None)));
    for message in ["m", "n", "o", "p"] {
        assert!(stored(accept(&mut case, None, message, None)));
    }
    assert_eq!(accept(&mut case, None, "q", None), Accepted::BacklogFull);
    assert_eq!(accept(&mut case, Some("a"), "q", None), Accepted::OwnerFull);
    let claimed = case.begin().expect("an attempt should be claimed");
    case.sign(&claimed);
    // The owner has a request less, and a finished message does not count.
    let signed = accept(&mut case, Some("b"), &claimed.message, Some("host"));
    assert!(matches!(signed, Accepted::Signed { .. }), "{signed:?}");
    assert!(stored(accept(&mut case, Some("a"), "q", None)));
}

pub(crate) fn list_shows_requests_of_its_viewer_in_pages(bench: &mut dyn Bench) {
    let mut case = Case::with_many_calls(bench);
    let mut ids = Vec::new();
    for (number, owner) in ["a", "b", "a", "a", "b", "a"].into_iter().enumerate() {
        ids.push(case.pending_from(owner, &number.to_string(), Some("host")));
    }
    ids.push(case.pending("without owner", None));
    for claimed in case.begin_all() {
        match claimed.message.as_str() {
            "0" | "1" => case.sign(&claimed),
            "2" => case.fail(&claimed),
            _ => case.again(&claimed, 0),
        }
    }
    let parked = case.due(9, &[]);
    for notification in &parked {
        case.park(notification);
    }
    let list = |case: &Case<'_>, viewer: &Viewer, filter, after: Option<usize>, max| {
        let query = RequestQuery {
            filter,
            viewer: viewer.clone(),
            after: after.map(|at| ids[at].clone()),
            max,
        };
        let listed = wait(case.bench.store().list(query, case.bench.now()));
        let listed = listed.expect("store should respond")?;
        let number = |id| ids.iter().position(|known| *known == id);
        Some(
            listed
                .into_iter()
                .map(|view| number(view.id).expect("id should be known"))
                .collect::<Vec<_>>(),
        )
    };
    let (a, b, all) = (viewer("a"), viewer("b"), Viewer::All);
    for (viewer, filter, after, max, expected) in [
        (&a, RequestFilter::All, None, 9, Some(vec![5, 3, 2, 0])),
        (&a, RequestFilter::All, None, 2, Some(vec![5, 3])),
        (&a, RequestFilter::All, Some(3), 2, Some(vec![2, 0])),
        (&a, RequestFilter::All, Some(0), 2, Some(vec![])),
        (&a, RequestFilter::Pending, None, 9, Some(vec![5, 3])),
        (&a, RequestFilter::Pending, Some(5), 9, Some(vec![3])),
        (&a, RequestFilter::Signed, None, 9, Some(vec![0])),
        (&a, RequestFilter::Failed, None, 9, Some(vec![2])),
        (&a, RequestFilter::Parked, None, 9, Some(vec![2, 0])),
        (&a, RequestFilter::Parked, Some(2), 9, Some(vec![0])),
        (&b, RequestFilter::All, None, 9, Some(vec![4, 1])),
        (&b, RequestFilter::Failed, None, 9, Some(vec![])),
        (&all, RequestFilter::All, Some(4), 9, Some(vec![3, 2, 1, 0])),
        (&all, RequestFilter::Pending, Some(5), 9, Some(vec![4, 3])),
        (&all, RequestFilter::Signed, None, 9, Some(vec![1, 0])),
        (&all, RequestFilter::All, None, 1, Some(vec![6])),
        // The request of another owner, or without an owner, is not a place to continue from.
        (&a, RequestFilter::All, Some(4), 9, None),
        (&a, RequestFilter::All, Some(6), 9, None),
    ] {
        assert_eq!(
            list(&case, viewer, filter, after, max),
            expected,
            "{viewer:?} {filter:?} {after:?}"
        );
    }
}
