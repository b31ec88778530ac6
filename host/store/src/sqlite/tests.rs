use super::*;
use crate::{
    Accepted, BootMillis, Callback, MessageState, NewRequest, Notification, NotificationOutcome,
    NotificationState, Outcome, Redelivery, RequestId, SlotEnd, Try, UnixMillis,
};

const QUOTA: Quota = Quota {
    calls: 3,
    window_ms: 60_000,
    call_ms: 10_000,
    margin_ms: 1000,
};
const BOOT: &str = "this start";
/// When a new store makes its first calls.
const OPEN_MS: i64 = 61_000;

/// A store in a file of its own, and a clock that is moved by hand.
pub(super) struct Bench {
    folder: tempfile::TempDir,
    pub(super) store: Sqlite,
    boot_ms: i64,
    wall_ms: i64,
    ids: u128,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(QUOTA)
    }

    fn with(quota: Quota) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let now = at(0, 1_000_000);
        let store = Sqlite::open(&folder.path().join("db"), BOOT, quota, now).expect("a store");
        let mut bench = Self {
            folder,
            store,
            boot_ms: 0,
            wall_ms: 1_000_000,
            ids: 0,
        };
        bench.pass(i64::from(quota.window_ms) + i64::from(quota.margin_ms));
        bench
    }

    fn now(&self) -> Now {
        at(self.boot_ms, self.wall_ms)
    }

    fn pass(&mut self, ms: i64) {
        self.boot_ms += ms;
        self.wall_ms += ms;
    }

    /// What another process finds, perhaps after another start of the machine.
    fn restart(&mut self, boot: &str, quota: Quota) {
        let path = self.folder.path().join("db");
        self.store = Sqlite::open(&path, boot, quota, self.now()).expect("a store");
    }

    fn accept(&mut self, message: &str, callback: Option<&str>) -> Accepted {
        self.accept_up_to(u64::MAX, message, callback)
    }

    fn accept_up_to(&mut self, most: u64, message: &str, callback: Option<&str>) -> Accepted {
        self.ids += 1;
        let new = NewRequest {
            id: RequestId::new(self.ids),
            message: message.into(),
            callback: callback.map(|url| Callback {
                url: url.into(),
                host: url
                    .trim_start_matches("http://")
                    .trim_end_matches('/')
                    .into(),
            }),
        };
        let now = self.now();
        self.store.accept(&new, most, now).expect("stored")
    }

    fn pending(&mut self, message: &str, callback: Option<&str>) -> RequestId {
        match self.accept(message, callback) {
            Accepted::Pending(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn begin(&mut self) -> Option<Try> {
        let now = self.now();
        self.store.begin_try(now).expect("asked")
    }

    fn finish(&mut self, begun: &Try, end: SlotEnd, outcome: &Outcome) -> Result<()> {
        let now = self.now();
        self.store.finish_try(begun, end, outcome, &[], now)
    }

    fn again(&mut self, begun: &Try, after_ms: i64) {
        let at = UnixMillis(self.wall_ms + after_ms);
        self.finish(begun, SlotEnd::Answered, &Outcome::Again { at })
            .expect("finished");
    }

    fn sign(&mut self, begun: &Try) {
        self.finish(begun, SlotEnd::Answered, &Outcome::Signed("sig".into()))
            .expect("finished");
    }
}

impl Sqlite {
    /// A disk that has no room for more.
    pub(super) fn limit_pages(&self, pages: u32) {
        let set =
            self.connection
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()));
        set.expect("set");
    }
}

pub(super) fn at(boot_ms: i64, wall_ms: i64) -> Now {
    Now {
        wall: UnixMillis(wall_ms),
        boot: BootMillis(boot_ms),
    }
}

#[test]
fn requests_for_one_message_share_it() {
    let mut bench = Bench::new();
    let first = bench.pending("m", None);
    assert_eq!(bench.pending("m", None), first);
    let told = bench.pending("m", Some("http://a/"));
    assert_ne!(told, first);
    assert_eq!(bench.pending("m", Some("http://a/")), told);
    assert_ne!(bench.pending("m", Some("http://b/")), told);
    assert_eq!(bench.store.backlog().expect("a number"), 1);

    let begun = bench.begin().expect("a try");
    assert_eq!((begun.message.as_str(), begun.number), ("m", 1));
    assert_eq!(bench.begin(), None);
    bench.sign(&begun);
    assert_eq!(bench.store.backlog().expect("a number"), 0);
    for id in [&first, &told] {
        let view = bench.store.request(id).expect("asked").expect("there");
        assert_eq!(view.state, MessageState::Signed("sig".into()));
        assert_eq!((view.message.as_str(), view.tries), ("m", 1));
    }
    let signed = Accepted::Signed {
        id: first,
        signature: "sig".into(),
    };
    assert_eq!(bench.accept("m", Some("http://c/")), signed);
    assert_eq!(bench.accept("m", None), signed);
    assert_eq!(
        bench.store.request(&RequestId::new(99)).expect("asked"),
        None
    );
}

#[test]
fn later_callers_of_a_finished_message_share_one_request() {
    let mut bench = Bench::new();
    bench.pending("m", Some("http://a/"));
    let begun = bench.begin().expect("a try");
    bench
        .finish(&begun, SlotEnd::Answered, &Outcome::Failed("no".into()))
        .expect("finished");
    let Accepted::Failed { id, error } = bench.accept("m", Some("http://a/")) else {
        panic!("not failed");
    };
    assert_eq!(error, "no");
    assert_eq!(
        bench.accept("m", None),
        Accepted::Failed {
            id: id.clone(),
            error
        }
    );
    let view = bench.store.request(&id).expect("asked").expect("there");
    assert_eq!(view.state, MessageState::Failed("no".into()));
}

#[test]
fn a_full_backlog_takes_no_new_message_and_every_other_caller() {
    let mut bench = Bench::new();
    for message in ["a", "b"] {
        assert!(matches!(
            bench.accept_up_to(2, message, None),
            Accepted::Pending(_)
        ));
    }
    assert_eq!(bench.accept_up_to(2, "c", None), Accepted::BacklogFull);
    assert!(matches!(
        bench.accept_up_to(2, "a", Some("http://a/")),
        Accepted::Pending(_)
    ));
    bench.restart(BOOT, QUOTA);
    assert_eq!(bench.accept_up_to(2, "c", None), Accepted::BacklogFull);
    let begun = bench.begin().expect("a try");
    bench.sign(&begun);
    assert!(matches!(
        bench.accept_up_to(2, "c", None),
        Accepted::Pending(_)
    ));
}

#[test]
fn fresh_messages_come_before_failed_ones_until_those_are_aged() {
    let mut bench = Bench::with(Quota {
        calls: 100,
        ..QUOTA
    });
    bench.pending("failed", None);
    let begun = bench.begin().expect("a try");
    bench.again(&begun, 1000);
    bench.pass(500);
    assert_eq!(bench.begin(), None, "not due yet");
    bench.pass(500);
    bench.pending("fresh", None);
    let fresh = bench.begin().expect("a try");
    assert_eq!(fresh.message, "fresh");
    let failed = bench.begin().expect("a try");
    assert_eq!((failed.message.as_str(), failed.number), ("failed", 2));
    bench.again(&fresh, 0);
    bench.again(&failed, 1000);
    bench.pass(10 * 60_000);
    bench.pending("young", None);
    let order: Vec<_> = std::iter::from_fn(|| bench.begin())
        .map(|begun| begun.message)
        .collect();
    assert_eq!(order, ["fresh", "failed", "young"]);
}

/// A wall clock that was an hour ahead when a try was planned.
#[test]
fn a_plan_that_nobody_makes_is_void() {
    let mut bench = Bench::new();
    bench.pending("m", None);
    let begun = bench.begin().expect("a try");
    bench.again(&begun, 1000);
    bench.wall_ms -= 2 * 60 * 60_000;
    assert!(bench.begin().is_some());
    bench.pending("fresh", None);
    bench.wall_ms -= 2 * 60 * 60_000;
    assert!(bench.begin().is_some());
}

#[test]
fn slots_come_back_a_window_after_their_call() {
    let mut bench = Bench::new();
    let begin = |bench: &mut Bench| {
        let now = bench.now();
        bench.store.begin_call(now).expect("asked")
    };
    let calls: Vec<_> = std::iter::from_fn(|| begin(&mut bench)).collect();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].slot.send_before, BootMillis(OPEN_MS + 10_000));
    bench.pass(2000);
    let now = bench.now();
    let mut end = |at: usize, end| bench.store.end_call(&calls[at], end, now).expect("ended");
    end(0, SlotEnd::Answered);
    end(1, SlotEnd::Unknown);
    bench.pass(60_999);
    assert_eq!(begin(&mut bench), None);
    bench.pass(1);
    assert!(begin(&mut bench).is_some(), "the one that was answered");
    assert_eq!(begin(&mut bench), None);
    // The end of the call before, told twice, ends nothing of this one.
    let now = bench.now();
    bench
        .store
        .end_call(&calls[0], SlotEnd::Answered, now)
        .expect("ended");
    bench.pass(7999);
    assert_eq!(begin(&mut bench), None);
    bench.pass(1);
    assert!(begin(&mut bench).is_some() && begin(&mut bench).is_some());
    assert_eq!(begin(&mut bench), None);
}

#[test]
fn a_hold_outlasts_calls_that_end_and_restarts() {
    let mut bench = Bench::new();
    bench.pending("m", None);
    let begun = bench.begin().expect("a try");
    let until = BootMillis(bench.boot_ms + 600_000);
    bench.store.hold_calls(until).expect("held");
    bench.again(&begun, 0);
    bench.restart(BOOT, QUOTA);
    bench.pass(599_999);
    assert_eq!(bench.begin(), None);
    assert_eq!(bench.store.next_slot_at().expect("asked"), Some(until));
    bench.pass(1);
    assert!(bench.begin().is_some());
}

#[test]
fn a_crash_forgets_no_call_and_no_message() {
    let mut bench = Bench::new();
    for message in ["a", "b", "c", "d"] {
        bench.pending(message, None);
    }
    let begun: Vec<_> = std::iter::from_fn(|| bench.begin()).collect();
    assert_eq!(begun.len(), 3);
    bench.restart(BOOT, QUOTA);
    bench.pass(70_999);
    assert_eq!(bench.begin(), None, "their calls may have been made");
    bench.pass(1);
    let again: Vec<_> = std::iter::from_fn(|| bench.begin()).collect();
    assert_eq!(again.len(), 3);
    assert_eq!(again[0].message, "a");
    // Whoever had the lease before is late.
    let late = bench.finish(
        &begun[0],
        SlotEnd::Answered,
        &Outcome::Signed("late".into()),
    );
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    bench.sign(&again[0]);
    let twice = bench.finish(
        &again[0],
        SlotEnd::Answered,
        &Outcome::Signed("twice".into()),
    );
    assert!(matches!(twice, Err(StoreError::LeaseLost)), "{twice:?}");
}

#[test]
fn what_is_not_known_of_earlier_calls_is_waited_for() {
    let longer = Quota {
        window_ms: 120_000,
        ..QUOTA
    };
    for (boot, quota, wait_ms) in [("another start", QUOTA, 61_000), (BOOT, longer, 121_000)] {
        let mut bench = Bench::new();
        bench.pending("m", None);
        // The clock of another start begins anew.
        bench.boot_ms = 5;
        bench.restart(boot, quota);
        bench.pass(wait_ms - 1);
        assert_eq!(bench.begin(), None);
        bench.pass(1);
        assert!(bench.begin().is_some());
    }
}

#[test]
fn another_number_of_calls_never_makes_more_of_them() {
    let mut bench = Bench::new();
    for message in 0..9 {
        bench.pending(&message.to_string(), None);
    }
    assert!(bench.begin().is_some());
    bench.restart(BOOT, Quota { calls: 1, ..QUOTA });
    assert_eq!(bench.begin(), None, "the one that is taken remains");
    bench.restart(BOOT, Quota { calls: 5, ..QUOTA });
    let begun: Vec<_> = std::iter::from_fn(|| bench.begin()).collect();
    assert_eq!(begun.len(), 4);
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let open =
        |name: &str| Sqlite::open(&folder.path().join(name), BOOT, QUOTA, at(0, 0)).map(drop);
    std::fs::write(folder.path().join("text"), "x".repeat(5000)).expect("written");
    assert!(matches!(open("text"), Err(StoreError::Schema(_))));

    let other = Connection::open(folder.path().join("other")).expect("a file");
    other.execute_batch("CREATE TABLE t (a)").expect("made");
    assert!(matches!(open("other"), Err(StoreError::Schema(_))));

    assert!(open("ours").is_ok() && open("ours").is_ok());
    let ours = Connection::open(folder.path().join("ours")).expect("a file");
    ours.pragma_update(None, "user_version", 2).expect("set");
    let newer = open("ours").expect_err("newer");
    assert!(newer.to_string().contains("version 2"), "{newer}");

    assert!(matches!(
        open("no/such/folder"),
        Err(StoreError::Unavailable(_))
    ));
}

/// The schema repeats the state machine.
#[test]
fn the_schema_refuses_states_that_cannot_be() {
    let mut bench = Bench::new();
    bench.pending("m", None);
    for wrong in [
        "UPDATE messages SET state = 'signed'",
        "UPDATE messages SET signature = 's'",
        "UPDATE messages SET state = 'failed', error = 'e'",
        "UPDATE messages SET state = 'odd'",
        "UPDATE messages SET tries = -1",
        "UPDATE messages SET text = ''",
        "UPDATE requests SET message = 99",
        "UPDATE meta SET backlog = -1",
        "INSERT INTO requests SELECT replace(id, '0', '1'), message, callback, 0, 1 FROM requests",
    ] {
        assert!(
            bench.store.connection.execute(wrong, ()).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn the_library_is_new_enough() {
    assert!(
        rusqlite::version_number() >= 3_051_003,
        "{}",
        rusqlite::version()
    );
}

fn due(bench: &mut Bench, most: u32, busy: &[&str]) -> Vec<Notification> {
    let now = bench.now();
    bench
        .store
        .begin_notifications(most, busy, now)
        .expect("asked")
}

fn told(bench: &Bench, id: &RequestId) -> Option<(NotificationState, u32)> {
    let view = bench.store.request(id).expect("asked").expect("there");
    view.notification.map(|told| (told.state, told.tries))
}

#[test]
fn everybody_who_waits_is_told_but_who_was_answered() {
    let mut bench = Bench::new();
    let silent = bench.pending("m", None);
    let [a, b, answered] =
        ["a", "b", "c"].map(|host| bench.pending("m", Some(&format!("http://{host}/"))));
    assert_eq!(told(&bench, &a), Some((NotificationState::Pending, 0)));
    assert_eq!(due(&mut bench, 9, &[]), []);
    let begun = bench.begin().expect("a try");
    bench.pass(10);
    let now = bench.now();
    let signed = Outcome::Signed("sig".into());
    let answers = std::slice::from_ref(&answered);
    bench
        .store
        .finish_try(&begun, SlotEnd::Answered, &signed, answers, now)
        .expect("finished");
    assert_eq!(
        (told(&bench, &silent), told(&bench, &answered)),
        (None, None)
    );

    bench.pass(10);
    let tries = due(&mut bench, 9, &[]);
    let mut requests: Vec<_> = tries
        .iter()
        .map(|told| told.lease.request.clone())
        .collect();
    requests.sort();
    assert_eq!(requests, [a.clone(), b.clone()]);
    let first = &tries[0];
    assert_eq!(
        (first.message.as_str(), &first.outcome),
        ("m", &Ok("sig".into()))
    );
    assert_eq!(
        (first.finished_at, first.first_try_at),
        (now.wall, bench.now().wall)
    );
    assert_eq!(due(&mut bench, 9, &[]), [], "under way");
    for told in &tries {
        bench
            .store
            .finish_notification(&told.lease, &NotificationOutcome::Delivered)
            .expect("finished");
    }
    assert_eq!(told(&bench, &a), Some((NotificationState::Delivered, 1)));
    assert_eq!(bench.store.next_notification_at().expect("asked"), None);
}

/// A store with one notification that is due.
fn one_to_tell() -> (Bench, RequestId) {
    let mut bench = Bench::new();
    let id = bench.pending("m", Some("http://a/"));
    let begun = bench.begin().expect("a try");
    bench
        .finish(&begun, SlotEnd::Answered, &Outcome::Failed("no".into()))
        .expect("finished");
    (bench, id)
}

#[test]
fn a_notification_is_tried_until_it_is_delivered_or_parked() {
    let (mut bench, id) = one_to_tell();
    let first = due(&mut bench, 9, &[]).pop().expect("due");
    assert_eq!((first.number, &first.outcome), (1, &Err("no".into())));
    let at = UnixMillis(bench.wall_ms + 1000);
    let why = "not there".to_owned();
    bench
        .store
        .finish_notification(
            &first.lease,
            &NotificationOutcome::Again {
                at,
                why: why.clone(),
            },
        )
        .expect("finished");
    assert_eq!(bench.store.next_notification_at().expect("asked"), Some(at));
    bench.pass(999);
    assert_eq!(due(&mut bench, 9, &[]), []);
    bench.pass(1);
    let second = due(&mut bench, 9, &[]).pop().expect("due");
    assert_eq!(
        (second.number, second.first_try_at),
        (2, first.first_try_at)
    );
    bench
        .store
        .finish_notification(&second.lease, &NotificationOutcome::Parked { why })
        .expect("finished");
    assert_eq!(told(&bench, &id), Some((NotificationState::Parked, 2)));
    bench.pass(365 * 24 * 60 * 60_000);
    assert_eq!(due(&mut bench, 9, &[]), []);

    let now = bench.now();
    assert_eq!(
        bench.store.redeliver(&id, now).expect("asked"),
        Redelivery::Due
    );
    let again = due(&mut bench, 9, &[]).pop().expect("due");
    assert_eq!((again.number, again.first_try_at), (1, now.wall));
    let nobody = RequestId::new(77);
    assert_eq!(
        bench.store.redeliver(&nobody, now).expect("asked"),
        Redelivery::None
    );
}

#[test]
fn a_busy_host_holds_up_no_other() {
    let mut bench = Bench::with(Quota {
        calls: 100,
        ..QUOTA
    });
    for (message, host) in [("1", "a"), ("2", "a"), ("3", "b"), ("4", "c")] {
        bench.pending(message, Some(&format!("http://{host}/")));
        let begun = bench.begin().expect("a try");
        bench.sign(&begun);
        bench.pass(1);
    }
    let hosts = |tries: Vec<Notification>| -> Vec<String> {
        tries.into_iter().map(|told| told.callback.host).collect()
    };
    assert_eq!(hosts(due(&mut bench, 1, &["a"])), ["b"]);
    assert_eq!(hosts(due(&mut bench, 9, &["a", "c"])), [""; 0]);
    assert_eq!(hosts(due(&mut bench, 9, &[])), ["a", "a", "c"]);
}

#[test]
fn a_crash_tells_again_and_whoever_is_late_changes_nothing() {
    let (mut bench, id) = one_to_tell();
    let before = due(&mut bench, 9, &[]).pop().expect("due");
    bench.restart(BOOT, QUOTA);
    let after = due(&mut bench, 9, &[]).pop().expect("due again");
    let late = bench
        .store
        .finish_notification(&before.lease, &NotificationOutcome::Delivered);
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    bench
        .store
        .finish_notification(&after.lease, &NotificationOutcome::Delivered)
        .expect("finished");
    assert_eq!(told(&bench, &id), Some((NotificationState::Delivered, 1)));
}
