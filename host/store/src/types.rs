//! The types of the store's interface.

use crate::TraceParent;

/// Milliseconds since 1970 by a wall clock. The clock may be set forward or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMillis(pub i64);

/// Milliseconds since the start of this machine (`CLOCK_BOOTTIME`). The clock cannot be set, and continues
/// while the machine sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootMillis(pub i64);

/// The time, by both clocks. The wall clock is used for times that people see and for retention. The boot
/// clock is used for plans, leases and slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The time by the wall clock.
    pub wall: UnixMillis,
    /// The time by the boot clock.
    pub boot: BootMillis,
}

/// The id of a request: 12 lowercase hexadecimal digits of the creation time, then 32 digits of random
/// bits.
///
/// The random bits protect the request, because anyone who has the id may read it. The time makes ids that
/// are created together adjacent in an index, so that inserts stay fast among millions of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(String);

impl RequestId {
    /// Length of an id in hexadecimal digits.
    pub const DIGITS: usize = 44;

    /// Creates an id from the low 48 bits of the time and from 128 random bits.
    pub fn new(at: UnixMillis, random: u128) -> Self {
        let at = at.0 & 0xffff_ffff_ffff;
        Self(format!("{at:012x}{random:032x}"))
    }

    /// Parses an id that a client sent. Returns `None` if it does not have the form of an id.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == Self::DIGITS && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The caller that a request belongs to: the name of its access key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(String);

impl Owner {
    /// Creates the owner with this name.
    ///
    /// # Panics
    /// If the name is empty. The stores use the empty text for requests without an owner.
    pub fn new(name: &str) -> Self {
        assert!(!name.is_empty(), "the name of an owner should not be empty");
        Self(name.to_owned())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text that stands for an owner in a column.
    pub(crate) fn column(owner: Option<&Self>) -> &str {
        owner.map_or("", Self::as_str)
    }

    /// Returns the owner in a column, or `None` if the column is empty.
    pub(crate) fn of_column(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Self::new(name))
    }
}

/// The requests that a caller may see. Other requests do not exist for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// All requests, also those without an owner.
    All,
    /// The requests of this owner.
    Owner(Owner),
}

impl Viewer {
    /// Returns the only owner whose requests are visible, or `None` if all requests are.
    pub(crate) fn owner(&self) -> Option<&Owner> {
        match self {
            Self::All => None,
            Self::Owner(owner) => Some(owner),
        }
    }
}

/// The number of a message in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId(pub i64);

/// A request to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRequest {
    /// The id of the request if it is new.
    pub id: RequestId,
    /// The owner of the request, or `None` if the caller has no access key.
    pub owner: Option<Owner>,
    /// The message to sign.
    pub message: String,
    /// The receiver of the notification, if the caller wants one.
    pub callback: Option<Callback>,
    /// The trace context that is sent with calls for this request.
    pub trace: Option<TraceParent>,
}

/// The receiver of the notification that a message is finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The complete URL.
    pub url: String,
    /// Host name without the port. Concurrency is limited per host, so that one slow receiver does not
    /// delay the others.
    pub host: String,
}

/// Maximum numbers of waiting messages and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacklogMax {
    /// Maximum number of waiting messages.
    pub messages: u64,
    /// Maximum number of requests of one caller for one message. Concurrent calls may exceed it by a few.
    pub callers: u32,
    /// Maximum number of waiting requests of the owner, or `None` for no limit. It does not apply to requests
    /// without an owner. Concurrent calls may exceed it by a few.
    pub owned: Option<u32>,
}

/// The result of [`Store::accept`](crate::Store::accept).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The request is stored, and its message waits to be signed. The id is that of an earlier request if
    /// one with the same message and callback is waiting.
    Pending(RequestId),
    /// The message is already signed.
    Signed {
        /// The id of a finished request for this message, without a callback.
        id: RequestId,
        /// The signature, as the upstream wrote it.
        signature: String,
    },
    /// The message was already rejected.
    Failed {
        /// The id of a finished request for this message, without a callback.
        id: RequestId,
        /// The reason.
        error: String,
    },
    /// The maximum number of messages is waiting. Nothing was stored.
    BacklogFull,
    /// The maximum number of requests of this caller is waiting for this message. Nothing was stored.
    CallersFull,
    /// The maximum number of requests of this owner is waiting. Nothing was stored.
    OwnerFull,
}

/// The state of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageState {
    /// The message waits to be signed.
    Pending,
    /// The message is signed, with this signature.
    Signed(String),
    /// The message was rejected, for this reason.
    Failed(String),
}

/// A request as its caller may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestView {
    /// The request's id.
    pub id: RequestId,
    /// The caller that the request belongs to, if it has an owner.
    pub owner: Option<Owner>,
    /// The message to sign.
    pub message: String,
    /// The state of the message.
    pub state: MessageState,
    /// The time when the request was accepted.
    pub created_at: UnixMillis,
    /// Number of finished attempts to sign the message.
    pub attempts: u32,
    /// The state of the notification. `None` if the request has no callback or its caller received the
    /// result directly.
    pub notification: Option<NotificationView>,
}

/// A notification as its caller may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationView {
    /// The state of the notification.
    pub state: NotificationState,
    /// Number of finished deliveries since the notification was created or last redelivered.
    pub attempts: u32,
    /// The reason why the last delivery failed.
    pub last_error: Option<String>,
    /// The time of the next delivery, by the caller's wall clock.
    pub next_attempt_at: Option<UnixMillis>,
}

/// The state of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationState {
    /// The notification will be delivered when the message is finished, or is being retried.
    Pending,
    /// The receiver accepted the notification.
    Delivered,
    /// The notification is kept, but not delivered any more unless a redelivery is requested.
    Parked,
}

/// A notification to deliver now, with the lease of this delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The lease to finish the delivery with.
    pub lease: NotificationLease,
    /// The receiver.
    pub callback: Callback,
    /// The message of the request.
    pub message: String,
    /// The signature, or the reason why the message was rejected.
    pub outcome: Result<String, String>,
    /// The time when the message was finished.
    pub finished_at: UnixMillis,
    /// Number of this delivery, from 1.
    pub number: u32,
    /// The time of the first delivery. For the first delivery this is the time of the claim.
    pub first_attempt_at: UnixMillis,
    /// The trace context of the caller's request.
    pub trace: Option<TraceParent>,
}

/// The right to finish one delivery of a notification, until another delivery is claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationLease {
    /// The request that the notification belongs to.
    pub request: RequestId,
    pub(crate) token: i64,
}

/// The outcome of one delivery of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotificationOutcome {
    /// The receiver accepted the notification.
    Delivered,
    /// The delivery failed and is repeated later.
    Retry {
        /// Minimum delay from now, in milliseconds.
        after_ms: u64,
        /// The reason for the failure.
        why: String,
    },
    /// The delivery failed and is not repeated.
    Parked {
        /// The reason for the failure.
        why: String,
    },
}

/// The result of [`Store::redeliver`](crate::Store::redeliver).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redelivery {
    /// The notification is due now, and its retries start again.
    Due,
    /// The notification became due or was attempted less than a second ago. Nothing was changed.
    TooSoon {
        /// Milliseconds until a redelivery is possible.
        after_ms: u64,
    },
    /// The request does not exist, or does not have a notification yet.
    NotFound,
}

/// The calls that the upstream allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Maximum number of calls in any window.
    pub calls: u32,
    /// Length of the window, in milliseconds.
    pub window_ms: u32,
    /// Maximum duration of a call in milliseconds, from its claim. The call must not be sent later.
    pub call_ms: u32,
    /// Additional time for delays in the network, in milliseconds.
    pub margin_ms: u32,
}

impl Quota {
    /// Returns how long a call whose end is unknown takes its slot, in milliseconds from its claim.
    pub fn claim_ms(&self) -> i64 {
        i64::from(self.call_ms) + self.cooldown_ms()
    }

    /// Returns how long a slot stays taken after the end of its call, in milliseconds.
    pub fn cooldown_ms(&self) -> i64 {
        i64::from(self.window_ms) + i64::from(self.margin_ms)
    }
}

/// The right to one call.
///
/// A slot is claimed on disk before the first byte of the call is sent. The claim lasts until the call is
/// over and one window has passed. Calls of one slot therefore arrive at least one window apart, and all
/// slots together never exceed the quota in any window, whatever process crashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub(crate) number: u32,
    pub(crate) claim: i64,
    /// The call must not be sent at or after this time of this machine's boot clock.
    pub send_before: BootMillis,
}

/// How the call of a slot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotEnd {
    /// The upstream has counted the call by now or never will: it responded, or nothing was sent. The slot
    /// is free one window and the margin later.
    Settled,
    /// The call may still arrive later, for example from a buffer. The slot stays taken until its claim
    /// ends.
    Unknown,
}

/// The right to finish one attempt for a message, until another attempt is claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub(crate) message: MessageId,
    pub(crate) token: i64,
}

/// A claimed attempt to sign a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The lease to finish the attempt with.
    pub lease: Lease,
    /// The slot for the call.
    pub slot: Slot,
    /// The message to sign.
    pub message: String,
    /// Number of this attempt, from 1.
    pub number: u32,
    /// The time when the message was accepted.
    pub created_at: UnixMillis,
    /// The trace context of the first request for the message.
    pub trace: Option<TraceParent>,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The message is signed, with this signature.
    Signed(String),
    /// The message is rejected for good, for this reason.
    Failed(String),
    /// The attempt failed and is repeated later.
    Retry {
        /// Minimum delay from now, in milliseconds.
        after_ms: u64,
    },
}

/// The result of an attempt to claim something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim<T> {
    /// The claim succeeded.
    Acquired(T),
    /// Nothing can be claimed now.
    RetryAfter {
        /// Milliseconds until a claim may succeed, unless something new is stored before. `None` if nothing
        /// waits.
        after_ms: Option<u64>,
    },
}

/// Counts and ages of the whole store, for `/health` and `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Number of messages that wait to be signed.
    pub backlog: u64,
    /// Milliseconds since the oldest waiting message was accepted. The time during which machines were off
    /// is measured by the wall clock, or does not count.
    pub oldest_age_ms: Option<u64>,
    /// Number of notifications that wait to be delivered.
    pub notifications_pending: u64,
    /// Number of parked notifications.
    pub notifications_parked: u64,
    /// Number of slots that are free now.
    pub slots_free: u32,
    /// Milliseconds during which no slot can be claimed, even a free one.
    pub held_ms: u64,
}

/// The requests that [`Store::list`](crate::Store::list) returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestQuery {
    /// The state of the requests.
    pub filter: RequestFilter,
    /// The requests that are visible.
    pub viewer: Viewer,
    /// If it is set, only requests that are older than this one are returned.
    pub after: Option<RequestId>,
    /// Maximum number of requests.
    pub max: u32,
}

impl RequestQuery {
    /// Returns the query for the newest requests of all owners.
    pub fn newest(filter: RequestFilter, max: u32) -> Self {
        Self {
            filter,
            viewer: Viewer::All,
            after: None,
            max,
        }
    }
}

/// The state of the requests that a query returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFilter {
    /// All requests.
    All,
    /// Requests whose message waits.
    Pending,
    /// Requests whose message is signed.
    Signed,
    /// Requests whose message was rejected.
    Failed,
    /// Requests whose notification is parked.
    Parked,
}
