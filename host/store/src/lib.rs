//! What the signing relay must not forget: requests, the calls that were made, notifications.
//!
//! Whatever a function here reports as done is on disk. Nothing decides by itself what the time is:
//! every function that needs it is given a [`Now`].
//!
//! - A *message* is a text to be signed; all requests for the same text share it, and its calls.
//! - A *request* is one caller's, with their callback.
//! - A *slot* is the right to one call in each window. See [`Slot`].
//! - A *lease* is the right to finish a try. It has a token, so that whoever comes late with one that
//!   was taken over since changes nothing.

mod clock_monitor;
#[cfg(test)]
mod conformance;
mod error;
#[cfg(any(test, feature = "model"))]
pub mod model;
mod postgres;
mod rules;
mod sqlite;
mod trace;
mod types;

pub use error::{Result, StoreError, Unavailable, Unusable};
#[cfg(any(test, feature = "model"))]
pub use model::{Model, Replica};
pub use postgres::{Postgres, PostgresSetup};
pub use sqlite::Sqlite;
pub use trace::TraceParent;
pub use types::{
    Accepted, Attempt, BacklogMax, BootMillis, Callback, Claim, Lease, Listed, MessageId,
    MessageState, NewRequest, Notification, NotificationLease, NotificationOutcome,
    NotificationState, NotificationView, Now, Outcome, Quota, Redelivery, RequestId, RequestView,
    Slot, SlotEnd, StoreStats, UnixMillis,
};

use std::pin::Pin;

/// What a store is doing; boxed, so that which store it is can be a setting. To drop it does not
/// undo it: it may be done or not.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The store, whichever it is. All of them are held to `conformance`.
///
/// What changes something is durable when it returns. `now` must have been read before the call:
/// what is granted counts from there.
pub trait Store: Send + Sync {
    /// Stores a request, unless its message is finished or as much as `max` waits already. A
    /// second caller with the same message and callback gets the request that waits already, which is
    /// *shared* from then on.
    fn accept(&self, new: NewRequest, max: BacklogMax, now: Now) -> StoreFuture<'_, Accepted>;

    /// A request as its caller may see it.
    fn request(&self, id: RequestId, now: Now) -> StoreFuture<'_, Option<RequestView>>;

    /// The signature of a message, if there is one.
    fn signature(&self, message: String) -> StoreFuture<'_, Option<String>>;

    /// Claims a slot and a message for it, if there is one of each: first what has been due for
    /// minutes, then what was never tried, then what is due again.
    fn claim_attempt(&self, now: Now) -> StoreFuture<'_, Claim<Attempt>>;

    /// Writes down what a try came to, how its call ended and whom to tell, in one step. Requests in
    /// `answered` get the result as their answer: nobody has to be told later, unless they are shared,
    /// since the other caller was promised to be told.
    fn finish_attempt(
        &self,
        claimed: Attempt,
        end: SlotEnd,
        outcome: Outcome,
        answered: Vec<RequestId>,
        now: Now,
    ) -> StoreFuture<'_, ()>;

    /// Claims a slot for a call that is no try: a verification, a check of the key. While messages
    /// wait, such calls have at most `checks_max` slots.
    fn claim_check(&self, checks_max: u32, now: Now) -> StoreFuture<'_, Claim<Slot>>;

    /// Writes down how such a call ended.
    fn end_check(&self, slot: Slot, end: SlotEnd, now: Now) -> StoreFuture<'_, ()>;

    /// No call for so long from now, whatever slots are free. A hold is never shortened.
    fn hold_calls(&self, for_ms: u64, now: Now) -> StoreFuture<'_, ()>;

    /// Takes up to `max` notifications that are due, the oldest first, but none for a host in
    /// `busy`: tries there are under way already, as many as may be.
    fn claim_notifications(
        &self,
        max: u32,
        busy: Vec<String>,
        now: Now,
    ) -> StoreFuture<'_, Claim<Vec<Notification>>>;

    /// Writes down what a try of a notification came to.
    fn finish_notification(
        &self,
        lease: NotificationLease,
        outcome: NotificationOutcome,
        now: Now,
    ) -> StoreFuture<'_, ()>;

    /// Makes a notification due, whatever became of it, with all tries before it. A try that is
    /// under way ends for itself.
    fn redeliver(&self, request: RequestId, now: Now) -> StoreFuture<'_, Redelivery>;

    /// Requests, the youngest first, up to `max`.
    fn list(&self, which: Listed, max: u32, now: Now) -> StoreFuture<'_, Vec<RequestView>>;

    /// Removes up to `max` requests whose message was finished more than `retention_ms` ago and
    /// that nobody is still to be told of, and messages without requests; says how many it removed.
    fn sweep(&self, retention_ms: u64, max: u32, now: Now) -> StoreFuture<'_, u64>;

    /// A look at the whole.
    fn stats(&self, now: Now) -> StoreFuture<'_, StoreStats>;

    /// To be called about once a second: proves that this replica is alive, and takes over what dead
    /// ones left behind.
    fn heartbeat(&self, now: Now) -> StoreFuture<'_, ()>;
}
