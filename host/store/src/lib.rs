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

mod sqlite;
mod terms;

pub use sqlite::{Sqlite, Writer};
pub use terms::{
    Accepted, BootMillis, Call, Callback, Lease, MessageId, MessageState, NewRequest, Notification,
    NotificationLease, NotificationOutcome, NotificationState, NotificationView, Now, Outcome,
    Quota, Redelivery, RequestId, RequestView, Slot, SlotEnd, Try, UnixMillis,
};

use std::fmt;

/// Why a store did not do what it was asked.
#[derive(Debug)]
pub enum StoreError {
    /// It cannot now; it may later: disk full, I/O error, locked. Nothing was changed.
    Unavailable(String),
    /// So much waits to be written that no more is taken. Nothing was changed.
    Busy,
    /// The lease was taken over, or its message is finished. Nothing was changed.
    LeaseLost,
    /// The file is of a newer version of this program, or of another one.
    Schema(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(f, "the store is not available: {why}"),
            Self::Busy => f.write_str("too much waits to be written"),
            Self::LeaseLost => f.write_str("the lease was lost"),
            Self::Schema(why) => write!(f, "the store cannot be used: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// The result of all functions here.
pub type Result<T> = std::result::Result<T, StoreError>;
