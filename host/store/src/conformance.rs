//! Conformance tests that every store passes.
//!
//! A store implements [`Bench`], and [`conformance_tests`] generates a test for each case.

pub(crate) mod calls;
pub(crate) mod leases;
pub(crate) mod notifications;
pub(crate) mod owners;
pub(crate) mod queries;
pub(crate) mod queues;
pub(crate) mod random_walk;
pub(crate) mod requests;
pub(crate) mod time;

use crate::{
    Accepted, Attempt, BacklogMax, Callback, Claim, NewRequest, Notification, NotificationOutcome,
    NotificationState, Now, Outcome, Owner, Quota, RequestId, RequestView, Result, Slot, SlotEnd,
    Store, StoreFuture, StoreStats, TraceParent, UnixMillis, Viewer,
};
use std::sync::LazyLock;
use tokio::runtime::Runtime;

/// The initial quota of the store of a bench.
pub(crate) const QUOTA: Quota = Quota {
    calls: 3,
    window_ms: 60_000,
    call_ms: 10_000,
    margin_ms: 1000,
};

/// A backlog without limits.
pub(crate) const UNBOUNDED: BacklogMax = BacklogMax {
    messages: u64::MAX,
    callers: u32::MAX,
    owned: None,
};

/// A store, its clocks, and its faults.
pub(crate) trait Bench {
    /// Returns the store of the current process.
    fn store(&self) -> &dyn Store;

    /// Returns the time. Only the methods below change it.
    fn now(&self) -> Now;

    /// Advances all clocks.
    fn pass(&mut self, ms: i64);

    /// Steps the wall clock of this process forwards or backwards.
    fn step_wall(&mut self, ms: i64);

    /// Ends the process, and restarts the machine if requested. Another process opens the same
    /// store with this quota.
    fn crash(&mut self, machine: Machine, quota: Quota);

    /// Returns the store of another process on the same machine, or `None` if the store does not
    /// support this.
    fn replica(&mut self) -> Option<Box<dyn Store>>;
}

/// The effect of a crash on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// The machine continues.
    RunsOn,
    /// The machine restarts, and its clock begins at zero.
    Restarts,
}

/// Generates a test for each case. Each test gets a new bench, and the attributes.
///
/// A case is a function in one of the modules below, and is in this list.
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
                requests_for_same_message_share_it,
                callers_of_finished_message_share_one_request,
                full_backlog_rejects_only_new_messages,
                message_accepts_limited_number_of_callers,
                signature_is_found_by_message,
                concurrent_callers_share_message_and_have_own_requests;
            owners:
                request_exists_only_for_its_owner,
                requests_are_merged_only_within_an_owner,
                request_without_owner_is_visible_to_viewer_of_all_only,
                owner_accepts_limited_number_of_requests_for_a_message,
                owner_has_limited_number_of_waiting_requests,
                list_shows_requests_of_its_viewer_in_pages;
            queues:
                backlog_delays_first_message_of_another_caller_by_one_call,
                queues_have_one_call_each_per_round,
                queue_without_due_message_loses_its_turn,
                round_continues_after_crash,
                shared_message_is_called_once_in_the_shorter_queue;
            calls:
                fresh_messages_precede_failed_ones_until_aged,
                slot_is_free_one_window_after_its_call,
                end_of_earlier_claim_has_no_effect,
                hold_survives_ended_calls_and_crashes,
                checks_leave_slots_for_pending_messages,
                retry_after_is_exact,
                new_store_waits_for_calls_of_lost_store,
                changed_number_of_calls_forgets_no_call,
                longer_window_delays_calls_after_earlier_ones,
                longer_window_counts_active_calls;
            leases:
                crash_forgets_no_call_and_no_message,
                late_outcome_changes_nothing,
                unfinished_attempt_is_repeated,
                expired_lease_is_valid_until_next_claim,
                replicas_share_slots_and_messages;
            notifications:
                waiting_requests_except_answered_ones_are_notified,
                shared_request_is_notified,
                notification_is_repeated_until_delivered_or_parked,
                redelivery_restarts_notification_in_any_state,
                redeliveries_of_a_request_are_a_second_apart,
                busy_host_does_not_delay_others,
                oldest_notifications_come_first,
                notification_is_repeated_after_crash,
                unfinished_notification_is_repeated;
            queries:
                lists_begin_with_newest_request,
                statistics_are_exact,
                sweep_removes_old_finished_requests,
                sweep_keeps_pending_requests,
                sweep_removes_limited_number_of_requests;
            time:
                wall_clock_steps_change_no_due_time,
                all_work_is_completed_after_machine_restart;
            random_walk:
                no_window_contains_more_calls_than_quota;
        }
    };
}
pub(crate) use conformance_tests;

/// The runtime of all cases and threads, for stores whose connections outlive a call.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build();
    runtime.expect("thread should start")
});

/// Waits for the result of a store.
fn wait<T>(operation: StoreFuture<'_, T>) -> Result<T> {
    RUNTIME.block_on(operation)
}

/// A running case.
struct Case<'b> {
    bench: &'b mut dyn Bench,
    ids: u128,
    /// The elapsed time by a clock that is never reset.
    elapsed_ms: i64,
}

impl<'b> Case<'b> {
    /// Creates a case, and waits until the store makes calls.
    fn new(bench: &'b mut dyn Bench) -> Self {
        let mut case = Self {
            bench,
            ids: 0,
            elapsed_ms: 0,
        };
        case.pass(QUOTA.cooldown_ms());
        case
    }

    /// Creates a case whose quota is larger than the number of its calls.
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
        wait(self.bench.store().heartbeat(now)).expect("heartbeat should succeed");
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
            owner: None,
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
        wait(self.bench.store().accept(new, max, now)).expect("request should be stored")
    }

    fn accept(&mut self, message: &str, callback: Option<&str>) -> Accepted {
        self.accept_up_to(UNBOUNDED, message, callback)
    }

    /// Stores a request of this owner.
    fn accept_from(&mut self, owner: &str, message: &str, callback: Option<&str>) -> Accepted {
        let new = NewRequest {
            owner: Some(Owner::new(owner)),
            ..self.new_request(message, callback)
        };
        let now = self.bench.now();
        wait(self.bench.store().accept(new, UNBOUNDED, now)).expect("request should be stored")
    }

    fn pending_from(&mut self, owner: &str, message: &str, callback: Option<&str>) -> RequestId {
        match self.accept_from(owner, message, callback) {
            Accepted::Pending(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn pending(&mut self, message: &str, callback: Option<&str>) -> RequestId {
        match self.accept(message, callback) {
            Accepted::Pending(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn claim(&self) -> Claim<Attempt> {
        wait(self.bench.store().claim_attempt(self.bench.now())).expect("call should succeed")
    }

    fn begin(&self) -> Option<Attempt> {
        acquired(self.claim())
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
            .expect("outcome should be stored");
    }

    fn fail(&self, claimed: &Attempt) {
        self.finish(claimed, SlotEnd::Settled, Outcome::Failed("no".into()))
            .expect("outcome should be stored");
    }

    fn again(&self, claimed: &Attempt, after_ms: u64) {
        self.finish(claimed, SlotEnd::Settled, Outcome::Retry { after_ms })
            .expect("outcome should be stored");
    }

    /// Stores a message with this callback, and signs it.
    fn signed(&mut self, message: &str, callback: Option<&str>) -> RequestId {
        let id = self.pending(message, callback);
        let claimed = self.begin().expect("an attempt should be claimed");
        assert_eq!(claimed.message, message);
        self.sign(&claimed);
        id
    }

    fn claim_check(&self, checks_max: u32) -> Claim<Slot> {
        wait(self.bench.store().claim_check(checks_max, self.bench.now()))
            .expect("call should succeed")
    }

    fn check(&self) -> Option<Slot> {
        acquired(self.claim_check(u32::MAX))
    }

    fn end(&self, slot: &Slot, end: SlotEnd) {
        let now = self.bench.now();
        wait(self.bench.store().end_check(slot.clone(), end, now))
            .expect("end of the check should be stored");
    }

    fn claim_due(&self, max: u32, busy: &[&str]) -> Claim<Vec<Notification>> {
        let busy = busy.iter().map(|host| (*host).into()).collect();
        let (store, now) = (self.bench.store(), self.bench.now());
        wait(store.claim_notifications(max, busy, now)).expect("call should succeed")
    }

    fn due(&self, max: u32, busy: &[&str]) -> Vec<Notification> {
        acquired(self.claim_due(max, busy)).unwrap_or_default()
    }

    fn finish_notification(
        &self,
        notification: &Notification,
        outcome: NotificationOutcome,
    ) -> Result<()> {
        let (store, now) = (self.bench.store(), self.bench.now());
        wait(store.finish_notification(notification.lease.clone(), outcome, now))
    }

    fn park(&self, notification: &Notification) {
        let why = "gone".into();
        self.finish_notification(notification, NotificationOutcome::Parked { why })
            .expect("outcome should be stored");
    }

    fn find(&self, id: &RequestId) -> Option<RequestView> {
        self.find_as(&Viewer::All, id)
    }

    fn find_as(&self, viewer: &Viewer, id: &RequestId) -> Option<RequestView> {
        let (store, now) = (self.bench.store(), self.bench.now());
        wait(store.request(id.clone(), viewer.clone(), now)).expect("call should succeed")
    }

    fn view(&self, id: &RequestId) -> RequestView {
        self.find(id).expect("request should exist")
    }

    fn notification_state(&self, id: &RequestId) -> Option<(NotificationState, u32)> {
        let notification = self.view(id).notification;
        notification.map(|notification| (notification.state, notification.attempts))
    }

    fn stats(&self) -> StoreStats {
        wait(self.bench.store().stats(self.bench.now())).expect("call should succeed")
    }
}

/// Returns a trace that is different for each request.
pub(crate) fn trace_of(id: &RequestId) -> TraceParent {
    let random = &id.as_str()[12..];
    let trace = format!("00-{random}-{}-01", &random[16..]);
    TraceParent::parse(&trace).expect("trace should be valid")
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
