//! The relay's access to clocks, randomness, tasks, the upstream and receivers.

use bulkhead_sandbox::{Delivery, Failure, Reply, Response};
use bulkhead_store::{BootMillis, Callback, Now, TraceParent};
use std::pin::Pin;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Everything outside the relay except its store: the real system, or a simulation. The relay itself reads no
/// clock, generates no random numbers and opens no sockets.
pub trait Environment: Send + Sync + 'static {
    /// Returns the current time of both clocks.
    fn now(&self) -> Now;

    /// Returns 128 random bits from a cryptographically secure generator.
    fn random(&self) -> u128;

    /// Waits until the monotonic clock reaches `at`.
    fn sleep_until(&self, at: BootMillis) -> BoxFuture<'static, ()>;

    /// Starts a task. It runs to completion even if nothing waits for it.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Calls the upstream. `target` is the path and query, `trace` the trace that the call belongs to. From
    /// `until` on, the implementation sends no bytes and does not wait.
    fn call_upstream(
        &self,
        target: String,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> BoxFuture<'static, CallResult>;

    /// Sends a delivery to a receiver. The implementation does not wait beyond `until`.
    fn deliver(
        &self,
        callback: Callback,
        delivery: Delivery,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> BoxFuture<'static, CallResult>;

    /// Called when the relay reaches `point`. Tests use it to stop the relay there. The default does nothing.
    fn reached(&self, _point: Point) {}
}

/// The result of an outbound call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallResult {
    /// A complete response.
    Response(Response),
    /// Nothing was sent, for this reason.
    Unsent(String),
    /// No complete response. The receiver may have received the call, or may still receive it.
    Lost(Failure),
    /// The response is not HTTP, for this reason.
    Malformed(String),
}

impl CallResult {
    /// Returns the reply for the component, and a more precise reason than the component can know, if there
    /// is one.
    pub(crate) fn into_reply(self) -> (Reply, Option<String>) {
        match self {
            Self::Response(response) => (Reply::Complete(response), None),
            Self::Unsent(why) => (Reply::Failed(Failure::NotConnected), Some(why)),
            Self::Lost(failure) => (Reply::Failed(failure), None),
            Self::Malformed(why) => (Reply::Failed(Failure::Malformed), Some(why)),
        }
    }
}

/// A point in the relay's work between two effects, at which a crash must be harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A request is stored. Its caller has no response yet.
    Accepted,
    /// A slot is claimed. Nothing is sent yet.
    Claimed,
    /// The call of the upstream has ended. Its result is not stored yet.
    Called,
    /// The result is stored. No notification is sent yet.
    Finished,
    /// A notification is claimed. Nothing is sent yet.
    NotificationClaimed,
    /// The attempt to notify the receiver has ended. Its result is not stored yet.
    Notified,
    /// The result of the attempt is stored.
    NotificationFinished,
}

impl Point {
    /// All points with their names.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Accepted, "accepted"),
        (Self::Claimed, "claimed"),
        (Self::Called, "called"),
        (Self::Finished, "finished"),
        (Self::NotificationClaimed, "notification-claimed"),
        (Self::Notified, "notified"),
        (Self::NotificationFinished, "notification-finished"),
    ];
}
