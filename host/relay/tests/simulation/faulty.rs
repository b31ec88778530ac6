//! A store that is slow, that loses questions, and that loses answers to what it did.

use crate::process::Process;
use bulkhead_store::{
    Accepted, BacklogMax, Begun, Doing, Listed, NewRequest, Notification, NotificationLease,
    NotificationOutcome, Now, Outcome, Redelivery, RequestId, RequestView, Slot, SlotEnd, Standing,
    Store, StoreError, Try,
};
use std::sync::Arc;

/// One process's way to the store.
pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) process: Arc<Process>,
}

impl Faulty {
    fn through<'a, T: Send + 'a>(
        &'a self,
        what: impl FnOnce() -> Doing<'a, T> + Send + 'a,
    ) -> Doing<'a, T> {
        Box::pin(async move {
            let process = &self.process;
            let fate = process.store_fate();
            process.sleep_ms(fate.before_ms).await;
            process.alive().await;
            let lost = |what: &str| Err(StoreError::Unavailable(what.to_owned()));
            if fate.question_lost {
                return lost("the question was lost");
            }
            let result = what().await;
            process.sleep_ms(fate.after_ms).await;
            process.alive().await;
            if fate.answer_lost {
                return lost("the answer was lost");
            }
            result
        })
    }
}

impl Store for Faulty {
    fn accept(&self, new: NewRequest, most: BacklogMax, now: Now) -> Doing<'_, Accepted> {
        self.through(move || self.inner.accept(new, most, now))
    }

    fn request(&self, id: RequestId, now: Now) -> Doing<'_, Option<RequestView>> {
        self.through(move || self.inner.request(id, now))
    }

    fn signature(&self, message: String) -> Doing<'_, Option<String>> {
        self.through(move || self.inner.signature(message))
    }

    fn begin_try(&self, now: Now) -> Doing<'_, Begun<Try>> {
        self.through(move || self.inner.begin_try(now))
    }

    fn finish_try(
        &self,
        begun: Try,
        end: SlotEnd,
        outcome: Outcome,
        answered: Vec<RequestId>,
        now: Now,
    ) -> Doing<'_, ()> {
        self.through(move || self.inner.finish_try(begun, end, outcome, answered, now))
    }

    fn begin_check(&self, checks_max: u32, now: Now) -> Doing<'_, Begun<Slot>> {
        self.through(move || self.inner.begin_check(checks_max, now))
    }

    fn end_check(&self, slot: Slot, end: SlotEnd, now: Now) -> Doing<'_, ()> {
        self.through(move || self.inner.end_check(slot, end, now))
    }

    fn hold_calls(&self, for_ms: u64, now: Now) -> Doing<'_, ()> {
        self.through(move || self.inner.hold_calls(for_ms, now))
    }

    fn begin_notifications(
        &self,
        most: u32,
        busy: Vec<String>,
        now: Now,
    ) -> Doing<'_, Begun<Vec<Notification>>> {
        self.through(move || self.inner.begin_notifications(most, busy, now))
    }

    fn finish_notification(
        &self,
        lease: NotificationLease,
        outcome: NotificationOutcome,
        now: Now,
    ) -> Doing<'_, ()> {
        self.through(move || self.inner.finish_notification(lease, outcome, now))
    }

    fn redeliver(&self, request: RequestId, now: Now) -> Doing<'_, Redelivery> {
        self.through(move || self.inner.redeliver(request, now))
    }

    fn list(&self, which: Listed, most: u32, now: Now) -> Doing<'_, Vec<RequestView>> {
        self.through(move || self.inner.list(which, most, now))
    }

    fn sweep(&self, retention_ms: u64, most: u32, now: Now) -> Doing<'_, u64> {
        self.through(move || self.inner.sweep(retention_ms, most, now))
    }

    fn standing(&self, now: Now) -> Doing<'_, Standing> {
        self.through(move || self.inner.standing(now))
    }

    fn beat(&self, now: Now) -> Doing<'_, ()> {
        self.through(move || self.inner.beat(now))
    }
}
