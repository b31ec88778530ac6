//! The durable store of the signing relay: requests, calls of the upstream, notifications.
//!
//! A change is on disk when the method that makes it returns. Callers pass the time as
//! [`Now`].
//!
//! - A *message* is a text to be signed. All requests for the same text share one message and its attempts.
//! - A *request* belongs to one caller, its *owner*, and has the caller's callback, if any.
//! - Each message is in the *queue* of one caller. Calls of the upstream are distributed over the queues.
//! - A *slot* is the right to make one call of the upstream per window. See [`Slot`].
//! - A *lease* is the right to finish one attempt. It has a token, so that a late holder cannot change
//!   anything after another attempt has started.

mod clock_monitor;
#[cfg(test)]
mod conformance;
mod error;
#[cfg(test)]
#[path = "../../../tests/listed.rs"]
mod listed;
#[cfg(any(test, feature = "model"))]
pub mod model;
mod postgres;
mod rules;
mod sqlite;
mod trace;
mod types;

pub use error::{Denied, Result, StoreError, StoreFile, Unavailable, Unusable};
#[cfg(any(test, feature = "model"))]
pub use model::{Model, Replica};
pub use postgres::{Postgres, PostgresSetup};
pub use sqlite::Sqlite;
pub use trace::TraceParent;
pub use types::{
    Accepted, Attempt, BacklogMax, BootMillis, Callback, Claim, Lease, MessageId, MessageState,
    NewRequest, Notification, NotificationLease, NotificationOutcome, NotificationState,
    NotificationView, Now, Outcome, Owner, Quota, Redelivery, RequestFilter, RequestId,
    RequestQuery, RequestView, Slot, SlotEnd, StoreStats, UnixMillis, Viewer,
};

use std::pin::Pin;

/// The future of a [`Store`] method. It is boxed, so that the kind of store can be chosen at run time.
///
/// Dropping it does not undo the operation: the operation may complete or never start.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A store. The tests in `conformance` check every implementation.
///
/// Methods may be called concurrently. None has a timeout of its own, except that the PostgreSQL store gives up after
/// the timeout of its setup. Dropping a future does not undo its operation ([`StoreFuture`]).
///
/// A change is durable when its method returns `Ok`. The caller must read `now` before the call, because
/// granted times count from it.
///
/// # Errors
/// Every method can return [`StoreError::Unavailable`], [`StoreError::Busy`] or [`StoreError::Unusable`].
/// After [`StoreError::Unavailable`] the change may have been made, if the connection to a database broke
/// during the commit. Methods that take a lease also return [`StoreError::LeaseLost`], and then change
/// nothing.
pub trait Store: Send + Sync {
    /// Stores a request and returns its id, or the result if the message is already finished.
    ///
    /// Stores nothing if `max` is reached, and returns [`Accepted::OwnerFull`], [`Accepted::BacklogFull`] or
    /// [`Accepted::CallersFull`]: the first of them that applies. A request with the owner, message and callback
    /// of a waiting request returns that request's id, marks it as *shared*, and does not count towards `max`. A
    /// repeated call is therefore safe. Each request with a new owner or callback for a waiting message is a new
    /// request.
    ///
    /// The callback of a request for a finished message is not called: the caller receives the result here.
    ///
    /// A new message is in the queue of its owner. If another owner requests a waiting message, and fewer
    /// messages precede it in that owner's queue, the message moves there.
    fn accept(&self, new: NewRequest, max: BacklogMax, now: Now) -> StoreFuture<'_, Accepted>;

    /// Returns the request with this id as its caller may see it, or `None` if it does not exist for the
    /// viewer.
    fn request(
        &self,
        id: RequestId,
        viewer: Viewer,
        now: Now,
    ) -> StoreFuture<'_, Option<RequestView>>;

    /// Returns the signature of a message, or `None` if the message is unknown, pending or failed.
    fn signature(&self, message: String) -> StoreFuture<'_, Option<String>>;

    /// Claims a slot and the next due message for one attempt.
    ///
    /// Each queue with a due message has one attempt per round, so that the messages of one caller delay the
    /// first message of another by at most one attempt. The order within a queue is: messages that have been
    /// due for minutes, then messages without an attempt, then messages whose next attempt is due. Returns
    /// [`Claim::RetryAfter`] if no slot is free or no message is due.
    ///
    /// The lease expires if the attempt is not finished in time. A later [`Store::heartbeat`] then makes
    /// the message available again, so that more than one call may be made for it.
    fn claim_attempt(&self, now: Now) -> StoreFuture<'_, Claim<Attempt>>;

    /// Stores in one transaction the outcome of an attempt, the end of its call and the notifications to
    /// send.
    ///
    /// The caller returns the result directly to the requests in `answered`. These get no notification,
    /// except *shared* requests, because another caller of the same request expects one.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if another attempt was claimed since or the attempt is already finished.
    /// The slot then stays taken until the end of its claim. An expired lease is still valid while no other
    /// attempt is claimed.
    fn finish_attempt(
        &self,
        claimed: Attempt,
        end: SlotEnd,
        outcome: Outcome,
        answered: Vec<RequestId>,
        now: Now,
    ) -> StoreFuture<'_, ()>;

    /// Claims a slot for a call that is not an attempt: a verification or a check of the key. While
    /// messages wait, such calls have at most `checks_max` slots. Returns [`Claim::RetryAfter`] if no slot is free
    /// for it. A slot that is not ended with [`Store::end_check`] becomes free one window after its claim has ended.
    fn claim_check(&self, checks_max: u32, now: Now) -> StoreFuture<'_, Claim<Slot>>;

    /// Stores the end of a call for which [`Store::claim_check`] claimed a slot. Has no effect if the slot
    /// was claimed again since. Idempotent.
    fn end_check(&self, slot: Slot, end: SlotEnd, now: Now) -> StoreFuture<'_, ()>;

    /// Prevents new claims of slots for `for_ms` milliseconds from now. A longer hold that exists is kept, so that
    /// a repeated call is safe.
    /// Calls with a claimed slot are not affected.
    fn hold_calls(&self, for_ms: u64, now: Now) -> StoreFuture<'_, ()>;

    /// Claims up to `max` due notifications, the longest due first, except those for a host in `busy`,
    /// which has its maximum of concurrent deliveries.
    ///
    /// Returns [`Claim::RetryAfter`] if none is due. The leases expire as for [`Store::claim_attempt`], so
    /// that a receiver may get a notification more than once.
    fn claim_notifications(
        &self,
        max: u32,
        busy: Vec<String>,
        now: Now,
    ) -> StoreFuture<'_, Claim<Vec<Notification>>>;

    /// Stores the outcome of one delivery of a notification. A second call with the same lease fails, and changes
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if another delivery was claimed since, a redelivery was requested, or this
    /// delivery is already finished.
    fn finish_notification(
        &self,
        lease: NotificationLease,
        outcome: NotificationOutcome,
        now: Now,
    ) -> StoreFuture<'_, ()>;

    /// Makes a notification due now, in whatever state it is, and starts its retries again. Does nothing if
    /// it became due or was first attempted less than a second ago, so that redeliveries of one request are
    /// at least a second apart.
    ///
    /// A delivery that is under way continues, but its outcome is not stored. The receiver may therefore
    /// get the notification twice.
    fn redeliver(&self, request: RequestId, now: Now) -> StoreFuture<'_, Redelivery>;

    /// Returns the requests that a query selects, the newest first. Returns `None` if the request
    /// [`RequestQuery::after`] does not exist for the viewer. Changes nothing.
    fn list(&self, query: RequestQuery, now: Now) -> StoreFuture<'_, Option<Vec<RequestView>>>;

    /// Removes up to `max` requests that were done more than `retention_ms` milliseconds ago, and messages
    /// without requests. Returns the number of removed requests.
    ///
    /// A request is done when its message is finished and its notification, if any, is delivered or parked.
    /// Its age counts from the end of the message, or from the time when the notification was parked. To be repeated
    /// while it removes `max` requests. Idempotent.
    fn sweep(&self, retention_ms: u64, max: u32, now: Now) -> StoreFuture<'_, u64>;

    /// Returns counts and ages for health checks and metrics. Changes nothing. The values may be some seconds old
    /// if other replicas change the store.
    fn stats(&self, now: Now) -> StoreFuture<'_, StoreStats>;

    /// Shows that this replica is alive, and makes work available again whose lease has expired or whose
    /// replica has stopped. To be called about once a second. Idempotent.
    fn heartbeat(&self, now: Now) -> StoreFuture<'_, ()>;

    /// Completes all operations that were begun, and closes the store. A store in a file is then complete in
    /// this one file. Later operations may fail with [`Unavailable::Closing`]. Idempotent.
    ///
    /// The default does nothing, for stores that are complete after each operation.
    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
