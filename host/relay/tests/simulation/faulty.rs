//! A store that is slow, and that loses operations before or after it performs them.

use crate::process::Process;
use bulkhead_store::{
    Accepted, Attempt, BacklogMax, Claim, NewRequest, Notification, NotificationLease,
    NotificationOutcome, Now, Outcome, Redelivery, RequestId, RequestQuery, RequestView, Slot,
    SlotEnd, Store, StoreError, StoreFuture, StoreStats, Unavailable, Viewer,
};
use std::sync::Arc;

/// The connection of one process to the store.
pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) process: Arc<Process>,
}

impl Faulty {
    fn through<'a, T: Send + 'a>(
        &'a self,
        operation: impl FnOnce() -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        Box::pin(async move {
            let process = &self.process;
            let fate = process.store_fate();
            process.sleep_ms(fate.before_ms).await;
            process.alive().await;
            let failure = || Err(StoreError::from(Unavailable::NoConnection));
            if fate.question_lost {
                return failure();
            }
            let result = operation().await;
            process.sleep_ms(fate.after_ms).await;
            process.alive().await;
            if fate.answer_lost {
                return failure();
            }
            result
        })
    }
}

impl Store for Faulty {
    fn accept(&self, new: NewRequest, max: BacklogMax, now: Now) -> StoreFuture<'_, Accepted> {
        self.through(move || self.inner.accept(new, max, now))
    }

    fn request(
        &self,
        id: RequestId,
        viewer: Viewer,
        now: Now,
    ) -> StoreFuture<'_, Option<RequestView>> {
        self.through(move || self.inner.request(id, viewer, now))
    }

    fn signature(&self, message: String) -> StoreFuture<'_, Option<String>> {
        self.through(move || self.inner.signature(message))
    }

    fn claim_attempt(&self, now: Now) -> StoreFuture<'_, Claim<Attempt>> {
        self.through(move || self.inner.claim_attempt(now))
    }

    fn finish_attempt(
        &self,
        claimed: Attempt,
        end: SlotEnd,
        outcome: Outcome,
        answered: Vec<RequestId>,
        now: Now,
    ) -> StoreFuture<'_, ()> {
        self.through(move || {
            self.inner
                .finish_attempt(claimed, end, outcome, answered, now)
        })
    }

    fn claim_check(&self, checks_max: u32, now: Now) -> StoreFuture<'_, Claim<Slot>> {
        self.through(move || self.inner.claim_check(checks_max, now))
    }

    fn end_check(&self, slot: Slot, end: SlotEnd, now: Now) -> StoreFuture<'_, ()> {
        self.through(move || self.inner.end_check(slot, end, now))
    }

    fn hold_calls(&self, for_ms: u64, now: Now) -> StoreFuture<'_, ()> {
        self.through(move || self.inner.hold_calls(for_ms, now))
    }

    fn claim_notifications(
        &self,
        max: u32,
        busy: Vec<String>,
        now: Now,
    ) -> StoreFuture<'_, Claim<Vec<Notification>>> {
        self.through(move || self.inner.claim_notifications(max, busy, now))
    }

    fn finish_notification(
        &self,
        lease: NotificationLease,
        outcome: NotificationOutcome,
        now: Now,
    ) -> StoreFuture<'_, ()> {
        self.through(move || self.inner.finish_notification(lease, outcome, now))
    }

    fn redeliver(&self, request: RequestId, now: Now) -> StoreFuture<'_, Redelivery> {
        self.through(move || self.inner.redeliver(request, now))
    }

    fn list(&self, query: RequestQuery, now: Now) -> StoreFuture<'_, Option<Vec<RequestView>>> {
        self.through(move || self.inner.list(query, now))
    }

    fn sweep(&self, retention_ms: u64, max: u32, now: Now) -> StoreFuture<'_, u64> {
        self.through(move || self.inner.sweep(retention_ms, max, now))
    }

    fn stats(&self, now: Now) -> StoreFuture<'_, StoreStats> {
        self.through(move || self.inner.stats(now))
    }

    fn heartbeat(&self, now: Now) -> StoreFuture<'_, ()> {
        self.through(move || self.inner.heartbeat(now))
    }
}
