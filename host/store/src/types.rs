//! What is stored, in types that cannot be mistaken for each other.

use crate::TraceParent;

/// Milliseconds since 1970 by a wall clock, which may step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMillis(pub i64);

/// Milliseconds since this machine started, by a clock that does not step and runs on while the
/// machine sleeps (`CLOCK_BOOTTIME`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootMillis(pub i64);

/// The time, by both clocks. The wall clock dates what people are shown and what is kept for so long;
/// everything that is planned or guarded goes by the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For what outlives the machine's uptime.
    pub wall: UnixMillis,
    /// For what must not be fooled by a clock that steps.
    pub boot: BootMillis,
}

/// 12 lowercase hexadecimal digits of the time when it was made, then 32 of random bits: who knows the
/// id may see the request. Ids of one time lie side by side in an index, so that a new one among
/// millions is written where the last one was.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(String);

impl RequestId {
    /// Digits of one.
    pub const DIGITS: usize = 44;

    /// From the time, of which 48 bits are taken, and random bits.
    pub fn new(at: UnixMillis, random: u128) -> Self {
        let at = at.0 & 0xffff_ffff_ffff;
        Self(format!("{at:012x}{random:032x}"))
    }

    /// From a client; none where it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
        (text.len() == Self::DIGITS && text.bytes().all(digits)).then(|| Self(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A message in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId(pub i64);

/// What a caller wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRequest {
    /// The id it gets if it is new.
    pub id: RequestId,
    /// What is to be signed.
    pub message: String,
    /// Whom to tell.
    pub callback: Option<Callback>,
    /// What the calls that are made for it belong to.
    pub trace: Option<TraceParent>,
}

/// Whom to tell when a message is finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The whole URL.
    pub url: String,
    /// Its host without the port: a slow machine is slow at all of them: tries at one host do not hold up others.
    pub host: String,
}

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacklogMax {
    /// Messages.
    pub messages: u64,
    /// Requests for each of them. A few more get in where several come at once.
    pub callers: u32,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is stored, and its message waits to be signed. The id is an older one where the same
    /// message with the same callback waits already.
    Pending(RequestId),
    /// The message was signed before.
    Signed {
        /// A finished request for this message, without a callback.
        id: RequestId,
        /// As the upstream wrote it.
        signature: String,
    },
    /// The message was refused before.
    Failed {
        /// A finished request for this message, without a callback.
        id: RequestId,
        /// Why.
        error: String,
    },
    /// So many messages wait that no more are taken. Nothing was stored.
    BacklogFull,
    /// So many requests wait for this message that no more are taken. Nothing was stored.
    CallersFull,
}

/// Where a message stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageState {
    /// It waits to be signed.
    Pending,
    /// The signature.
    Signed(String),
    /// Why there will be none.
    Failed(String),
}

/// What a caller is shown of their request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestView {
    /// Its id.
    pub id: RequestId,
    /// What is to be signed.
    pub message: String,
    /// Where that stands.
    pub state: MessageState,
    /// When it was accepted.
    pub created_at: UnixMillis,
    /// Calls for its message that ended.
    pub tries: u32,
    /// Where its notification stands; none without a callback, and where the result was the answer.
    pub notification: Option<NotificationView>,
}

/// What a caller is shown of their notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationView {
    /// Where it stands.
    pub state: NotificationState,
    /// Tries that ended.
    pub tries: u32,
    /// Why the last of them failed.
    pub last_error: Option<String>,
    /// When the next one is due, by the caller's wall clock.
    pub next_try_at: Option<UnixMillis>,
}

/// Where a notification stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationState {
    /// It will be tried, once the message is finished.
    Pending,
    /// The receiver took it.
    Delivered,
    /// It is kept and not tried.
    Parked,
}

/// A notification that may be tried now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// To finish the try with.
    pub lease: NotificationLease,
    /// Where to.
    pub callback: Callback,
    /// What was to be signed.
    pub message: String,
    /// Its signature, or why there is none.
    pub outcome: Result<String, String>,
    /// When that was known.
    pub finished_at: UnixMillis,
    /// Which try it is, from 1.
    pub number: u32,
    /// When the first was made; now for the first.
    pub first_try_at: UnixMillis,
    /// What its caller's request belonged to.
    pub trace: Option<TraceParent>,
}

/// The right to finish a try of a notification, until it is taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationLease {
    /// Whose it is.
    pub request: RequestId,
    pub(crate) token: i64,
}

/// What a try of a notification came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotificationOutcome {
    /// The receiver took it.
    Delivered,
    /// Not this time.
    Again {
        /// Milliseconds from now; not before.
        after_ms: u64,
        /// Why.
        why: String,
    },
    /// No further try.
    Parked {
        /// Why.
        why: String,
    },
}

/// What became of the wish for another delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redelivery {
    /// It is due now, with all tries before it.
    Due,
    /// There is no such request, or it has no notification (yet).
    None,
}

/// How many calls the upstream allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Calls in any window.
    pub calls: u32,
    /// The window.
    pub window_ms: u32,
    /// The longest that a call takes, from its claim on: it must not be sent later.
    pub call_ms: u32,
    /// For what the network delays.
    pub margin_ms: u32,
}

impl Quota {
    /// How long a slot is taken by a call of which nothing more is heard.
    pub fn taken_ms(&self) -> i64 {
        i64::from(self.call_ms) + self.spared_ms()
    }

    /// How long a slot stays taken after the end of its call.
    pub fn spared_ms(&self) -> i64 {
        i64::from(self.window_ms) + i64::from(self.margin_ms)
    }
}

/// The right to one call.
///
/// Each slot is claimed, on disk, before the first octet leaves, until a time when the call is over
/// and a window has passed. So the arrivals from one slot are at least a window apart, and from all of
/// them there are never more than the quota in one window, whatever crashes in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub(crate) number: u32,
    pub(crate) claim: i64,
    /// Nothing may be sent from here on.
    pub send_before: BootMillis,
}

/// How the call of a slot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotEnd {
    /// The upstream has counted it by now, or never will: it answered, or nothing was sent.
    Settled,
    /// It may still sit in a buffer and arrive later, so that the slot stays taken.
    Unknown,
}

/// The right to finish a try of a message, until it is taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub(crate) message: MessageId,
    pub(crate) token: i64,
}

/// A try that may be made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// To finish it with.
    pub lease: Lease,
    /// To make the call with.
    pub slot: Slot,
    /// What is to be signed.
    pub message: String,
    /// Which try it is, from 1.
    pub number: u32,
    /// When the message was accepted.
    pub created_at: UnixMillis,
    /// What the first request for it belonged to.
    pub trace: Option<TraceParent>,
}

/// What a try came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The signature.
    Signed(String),
    /// The message itself is wrong.
    Failed(String),
    /// Not this time.
    Again {
        /// Milliseconds from now; not before.
        after_ms: u64,
    },
}

/// The result of an attempt to claim something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim<T> {
    /// It is the caller's.
    Acquired(T),
    /// It is not free now, or there is none.
    RetryAfter {
        /// Milliseconds until it may be free, if nothing new comes before; none where nothing waits.
        after_ms: Option<u64>,
    },
}

/// A look at the whole, for `/health` and `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Messages that wait to be signed.
    pub backlog: u64,
    /// Milliseconds since the oldest of them was accepted. For how long machines were off is told by
    /// the wall clock, or does not count.
    pub oldest_age_ms: Option<u64>,
    /// Notifications to be made.
    pub notifications_pending: u64,
    /// Notifications that are kept and not tried.
    pub notifications_parked: u64,
    /// Slots in which a call could be made now.
    pub slots_free: u32,
    /// Milliseconds for which no call is made, whatever slots are free.
    pub held_ms: u64,
}

/// Which requests an operator wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// All of them.
    All,
    /// Those whose message waits.
    Pending,
    /// Those whose message was refused.
    Failed,
    /// Those whose notification is parked.
    Parked,
}
