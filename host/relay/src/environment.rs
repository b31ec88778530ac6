//! What the relay reaches beside its store: clocks, randomness, tasks, the upstream, receivers.

use bulkhead_sandbox::{Answer, Delivery, Failure, Reply};
use bulkhead_store::{BootMillis, Callback, Now, TraceParent};
use std::pin::Pin;

/// A future whose type does not matter.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// All that the relay reaches: the real system, or a simulation. The relay itself has neither clock nor
/// randomness nor sockets.
pub trait Environment: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> Now;

    /// Random bits, none of which can be guessed from others.
    fn random(&self) -> u128;

    /// Ends when the clock that does not step shows `at`.
    fn sleep_until(&self, at: BootMillis) -> BoxFuture<'static, ()>;

    /// Runs a task to its end, whoever waits for it.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Calls the upstream: `target` is a path and query, and `trace` what the call belongs to. No octet
    /// is sent, and nothing waited for, from `until` on.
    fn call_upstream(
        &self,
        target: String,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> BoxFuture<'static, CallResult>;

    /// Sends a delivery to a receiver. Nothing is waited for from `until` on.
    fn deliver(
        &self,
        callback: Callback,
        delivery: Delivery,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> BoxFuture<'static, CallResult>;

    /// Says where the relay is, for those who want to know what happens if it goes no further.
    fn reached(&self, _point: Point) {}
}

/// The result of an outbound call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallResult {
    /// An answer that came whole.
    Answer(Answer),
    /// Nothing was sent; why.
    Unsent(String),
    /// No whole answer. What was sent may have been received, or may be later.
    Lost(Failure),
}

impl CallResult {
    /// For the component, and what is known better than it can.
    pub(crate) fn into_reply(self) -> (Reply, Option<String>) {
        match self {
            Self::Answer(answer) => (Reply::Answered(answer), None),
            Self::Unsent(why) => (Reply::Unanswered(Failure::NotConnected), Some(why)),
            Self::Lost(failure) => (Reply::Unanswered(failure), None),
        }
    }
}

/// Places between two effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A request is stored; its caller does not know.
    Accepted,
    /// A slot is claimed; nothing is sent.
    Claimed,
    /// The upstream answered; nothing of it is stored.
    Heard,
    /// The result is stored; nobody was told.
    Finished,
    /// A notification is claimed; nothing is sent.
    NotificationClaimed,
    /// The receiver answered; nothing of it is stored.
    Told,
    /// What the receiver answered is stored.
    NotificationFinished,
}

impl Point {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Accepted, "accepted"),
        (Self::Claimed, "claimed"),
        (Self::Heard, "heard"),
        (Self::Finished, "finished"),
        (Self::NotificationClaimed, "notification-claimed"),
        (Self::Told, "told"),
        (Self::NotificationFinished, "notification-finished"),
    ];
}
