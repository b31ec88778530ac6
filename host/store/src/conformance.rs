//! What every store does: one suite for all of them.
//!
//! A store takes part with a [`Bench`] of its own, and [`conformance_tests`] makes a test of each case.

pub(crate) mod calls;
pub(crate) mod leases;
pub(crate) mod notifications;
pub(crate) mod queries;
pub(crate) mod random_walk;
pub(crate) mod requests;
pub(crate) mod time;

use crate::{
    Accepted, Attempt, BacklogMax, Callback, Claim, NewRequest, Notification, NotificationOutcome,
    NotificationState, Now, Outcome, Quota, RequestId, RequestView, Result, Slot, SlotEnd, Store,
    StoreFuture, StoreStats, TraceParent, UnixMillis,
};
use std::sync::LazyLock;
use tokio::runtime::Runtime;

/// What a bench's store is opened with at first.
pub(crate) const QUOTA: Quota = Quota {
    calls: 3,
    window_ms: 60_000,
    call_ms: 10_000,
    margin_ms: 1000,
};

/// Nothing is ever full.
pub(crate) const UNBOUNDED: BacklogMax = BacklogMax {
    messages: u64::MAX,
    callers: u32::MAX,
};

/// A store, and the time and the faults that a case lets it have.
pub(crate) trait Bench {
    /// The store, as the process has it open that is alive now.
    fn store(&self) -> &dyn Store;

    /// The time. It stands still but for the functions below.
    fn now(&self) -> Now;

    /// Lets time pass, by all clocks.
    fn pass(&mut self, ms: i64);

    /// Sets the wall clock of this process ahead, or back.
    fn step_wall(&mut self, ms: i64);

    /// The process dies, and perhaps its machine restarts; another opens the same store, with this
    /// quota.
    fn crash(&mut self, machine: Machine, quota: Quota);

    /// Another process that uses the same store, on the same machine; none where that cannot be.
    fn replica(&mut self) -> Option<Box<dyn Store>>;
}

/// What becomes of the machine when a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// Nothing.
    RunsOn,
    /// Its clock begins anew.
    Restarts,
}

/// Makes a test of each thing that every store does. Each is given a new bench; attributes go to all tests.
///
/// A case is a function of a module below, and is in this list.
macro_rules! conformance_tests {
    (@all $attributes:tt $bench:tt $($module:ident: $($name:ident),+;)+) => {
        $($($crate::conformance::conformance_tests! {
            @one $attributes $bench $module $name
        })+)+
    };
    (@one [$(#[$attribute:meta])*] [$bench:expr] $module:ident $name:ident) => {
        #[test]
        $(#[$attribute])*
        fn $name() {
            $crate::conformance::$module::$name(&mut $bench);
        }
    };
    ($bench:expr $(, #[$attribute:meta])*) => {
        $crate::conformance::conformance_tests! {
            @all [$(#[$attribute])*] [$bench]
            requests:
                requests_for_one_message_share_it,
                later_callers_of_a_finished_message_share_one_request,
                a_full_backlog_takes_no_new_message_and_every_other_caller,
                a_message_takes_so_many_callers_and_no_more,
                a_signature_is_found_by_its_message,
                callers_at_once_share_a_message_and_have_requests_of_their_own;
            calls:
                fresh_messages_come_before_failed_ones_until_those_are_aged,
                slots_come_back_a_window_after_their_call,
                the_end_of_a_claim_before_ends_nothing,
                a_hold_outlasts_calls_that_end_and_crashes,
                checks_leave_slots_to_messages_that_wait,
                who_is_told_later_is_told_exactly_when,
                a_new_store_waits_for_what_a_lost_one_may_have_called,
                fewer_calls_and_more_again_forget_none,
                a_longer_window_holds_for_calls_before_it,
                a_longer_window_counts_calls_that_are_under_way;
            leases:
                a_crash_forgets_no_call_and_no_message,
                whoever_comes_late_changes_nothing,
                a_try_that_nobody_finishes_is_made_again,
                an_expired_lease_counts_until_another_is_given,
                replicas_share_slots_and_messages;
            notifications:
                everybody_who_waits_is_told_but_who_was_answered,
                a_request_that_two_callers_share_is_told_of,
                a_notification_is_tried_until_it_is_delivered_or_parked,
                a_redelivery_begins_anew_at_any_time,
                a_busy_host_holds_up_no_other,
                the_oldest_notifications_come_first,
                a_crash_tells_again_and_whoever_is_late_changes_nothing,
                a_notification_that_nobody_finishes_is_made_again;
            queries:
                lists_are_of_the_youngest_first,
                the_standing_counts_what_there_is,
                a_sweep_removes_what_is_done_and_old,
                a_sweep_leaves_what_somebody_waits_for,
                a_sweep_takes_small_steps;
            time:
                steps_of_the_wall_clock_change_no_plan,
                after_a_restart_of_the_machine_all_is_done_in_the_end;
            random_walk:
                no_window_ever_sees_more_calls_than_allowed;
        }
    };
}
pub(crate) use conformance_tests;

/// For stores with connections that live on beside the calls: one for all cases and threads.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build();
    runtime.expect("a thread can be started")
});

/// Waits for a store.
fn wait<T>(operation: StoreFuture<'_, T>) -> Result<T> {
    RUNTIME.block_on(operation)
}

/// A case at work.
struct Case<'b> {
    bench: &'b mut dyn Bench,
    ids: u128,
    /// What passed, by a clock that nothing resets.
    elapsed_ms: i64,
}

impl<'b> Case<'b> {
    /// Once the store makes calls.
    fn new(bench: &'b mut dyn Bench) -> Self {
        let mut case = Self {
            bench,
            ids: 0,
            elapsed_ms: 0,
        };
        case.pass(QUOTA.spared_ms());
        case
    }

    /// The same, with more calls than a case can make.
    fn with_many_calls(bench: &'b mut dyn Bench) -> Self {
        let case = Self::new(bench);
        let quota = Quota {
            calls: 100,
            ..QUOTA
        };
        case.bench.crash(Machine::RunsOn, quota);
        case
    }

    fn pass(&mut self, ms: i64) {
        self.bench.pass(ms);
        self.elapsed_ms += ms;
        let now = self.bench.now();
        wait(self.bench.store().heartbeat(now)).expect("beaten");
    }

    fn wall(&self, after_ms: i64) -> UnixMillis {
        UnixMillis(self.bench.now().wall.0 + after_ms)
    }

    fn new_request(&mut self, message: &str, callback: Option<&str>) -> NewRequest {
        self.ids += 1;
        let id = RequestId::new(UnixMillis(0), self.ids);
        NewRequest {
            trace: Some(trace_of(&id)),
            id,
            message: message.into(),
            callback: callback.map(|host| Callback {
                url: format!("http://{host}/"),
                host: host.into(),
            }),
        }
    }

    fn accept_up_to(&mut self, max: BacklogMax, message: &str, callback: Option<&str>) -> Accepted {
        let new = self.new_request(message, callback);
        let now = self.bench.now();
        wait(self.bench.store().accept(new, max, now)).expect("stored")
    }

    fn accept(&mut self, message: &str, callback: Option<&str>) -> Accepted {
        self.accept_up_to(UNBOUNDED, message, callback)
    }

    fn pending(&mut self, message: &str, callback: Option<&str>) -> RequestId {
        match self.accept(message, callback) {
            Accepted::Pending(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&self) -> Claim<Attempt> {
        wait(self.bench.store().claim_attempt(self.bench.now())).expect("asked")
    }

    fn begin(&self) -> Option<Attempt> {
        acquired(self.ask())
    }

    fn begin_all(&self) -> Vec<Attempt> {
        std::iter::from_fn(|| self.begin()).collect()
    }

    fn finish(&self, claimed: &Attempt, end: SlotEnd, outcome: Outcome) -> Result<()> {
        let (store, now) = (self.bench.store(), self.bench.now());
        wait(store.finish_attempt(claimed.clone(), end, outcome, Vec::new(), now))
    }

    fn sign(&self, claimed: &Attempt) {
        let signed = Outcome::Signed(format!("sig of {}", claimed.message));
        self.finish(claimed, SlotEnd::Settled, signed)
            .expect("finished");
    }

    fn refuse(&self, claimed: &Attempt) {
        self.finish(claimed, SlotEnd::Settled, Outcome::Failed("no".into()))
            .expect("finished");
    }

    fn again(&self, claimed: &Attempt, after_ms: u64) {
        self.finish(claimed, SlotEnd::Settled, Outcome::Again { after_ms })
            .expect("finished");
    }

    /// A message with this callback that is signed.
    fn signed(&mut self, message: &str, callback: Option<&str>) -> RequestId {
        let id = self.pending(message, callback);
        let claimed = self.begin().expect("a try");
        assert_eq!(claimed.message, message);
        self.sign(&claimed);
        id
    }

    fn ask_check(&self, checks_max: u32) -> Claim<Slot> {
        wait(self.bench.store().claim_check(checks_max, self.bench.now())).expect("asked")
    }

    fn check(&self) -> Option<Slot> {
        acquired(self.ask_check(u32::MAX))
    }

    fn end(&self, slot: &Slot, end: SlotEnd) {
        let now = self.bench.now();
        wait(self.bench.store().end_check(slot.clone(), end, now)).expect("ended");
    }

    fn ask_due(&self, max: u32, busy: &[&str]) -> Claim<Vec<Notification>> {
        let busy = busy.iter().map(|host| (*host).into()).collect();
        let (store, now) = (self.bench.store(), self.bench.now());
        wait(store.claim_notifications(max, busy, now)).expect("asked")
    }

    fn due(&self, max: u32, busy: &[&str]) -> Vec<Notification> {
        acquired(self.ask_due(max, busy)).unwrap_or_default()
    }

    fn tell(&self, told: &Notification, outcome: NotificationOutcome) -> Result<()> {
        let (store, now) = (self.bench.store(), self.bench.now());
        wait(store.finish_notification(told.lease.clone(), outcome, now))
    }

    fn park(&self, told: &Notification) {
        let why = "gone".into();
        self.tell(told, NotificationOutcome::Parked { why })
            .expect("finished");
    }

    fn find(&self, id: &RequestId) -> Option<RequestView> {
        wait(self.bench.store().request(id.clone(), self.bench.now())).expect("asked")
    }

    fn view(&self, id: &RequestId) -> RequestView {
        self.find(id).expect("there")
    }

    fn told(&self, id: &RequestId) -> Option<(NotificationState, u32)> {
        let notification = self.view(id).notification;
        notification.map(|told| (told.state, told.tries))
    }

    fn stats(&self) -> StoreStats {
        wait(self.bench.store().stats(self.bench.now())).expect("asked")
    }
}

/// Each request belongs to a trace of its own.
pub(crate) fn trace_of(id: &RequestId) -> TraceParent {
    let random = &id.as_str()[12..];
    let trace = format!("00-{random}-{}-01", &random[16..]);
    TraceParent::parse(&trace).expect("well-formed")
}

fn acquired<T>(claimed: Claim<T>) -> Option<T> {
    match claimed {
        Claim::Acquired(claimed) => Some(claimed),
        Claim::RetryAfter { .. } => None,
    }
}

fn later<T>(after_ms: u64) -> Claim<T> {
    Claim::RetryAfter {
        after_ms: Some(after_ms),
    }
}
