//! Iterated key derivation (S2K) of many requests side by side.
//!
//! Opening a message is almost only key derivation: megabytes of salt and passphrase, repeated and
//! hashed. An [`Engine`] takes that work from all who have some, and has a fixed number of threads
//! for it. Two facts make it fast. Text that repeats has few distinct blocks, so that the message
//! schedules are computed once and only the rounds are left; and streams that are independent of
//! each other, of other requests and the several passes of one key, go side by side through the
//! lanes of a vector, or interleaved through the SHA instructions of the processor.
//!
//! A derivation's way: `queue` splits it into passes and keeps them in order, `cost` says which of
//! them a thread takes together and on which [`Path`], `hashing` takes them a step further:
//! `periodic` is one pass, `table` are schedules side by side, and `kernel` the rounds, which is
//! where the unsafe code is. `engine` are the threads.

#![expect(
    clippy::many_single_char_names,
    reason = "the working variables of FIPS 180-4 are called a to h"
)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod cancel;
mod cost;
mod engine;
mod family;
mod hashing;
mod kernel;
mod metrics;
mod path;
mod periodic;
mod queue;
#[cfg(any(test, fuzzing))]
pub mod simulation;
mod table;

pub use cancel::{CancelFlag, Cancellation};
pub use engine::{DeriveError, Engine, Setup};
pub use metrics::KdfMetrics;
pub use path::Path;

#[cfg(test)]
mod tests;
