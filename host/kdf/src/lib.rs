//! Iterated key derivation (S2K, RFC 9580 section 3.7.1) of many requests side by side.
//!
//! The time to open a message is almost entirely key derivation, which hashes megabytes of repeated salt
//! and passphrase. An [`Engine`] does this work for all callers on a fixed number of threads. It is fast
//! for two reasons:
//!
//! - Repeated text has few distinct blocks. Their message schedules are computed once, and only the rounds
//!   remain.
//! - Streams are independent of each other, whether they are passes of one key or of several requests. They
//!   are hashed side by side in the lanes of a vector, or interleaved with the SHA instructions of the
//!   processor.
//!
//! The modules, from a derivation to its digests:
//!
//! - `engine` has the threads and the public interface.
//! - `queue` splits a derivation into passes and orders them.
//! - `cost` chooses the streams that a thread hashes together, and their [`Path`].
//! - `hashing` performs one turn of a thread.
//! - `periodic` is a single pass, and `table` holds the schedules of several passes side by side.
//! - `kernel` computes the rounds. It contains the unsafe code.

#![expect(
    clippy::many_single_char_names,
    reason = "the working variables of FIPS 180-4 are called a to h"
)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod caller;
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

pub use caller::CallerId;
pub use cancel::{CancelFlag, Cancellation};
pub use engine::{DeriveError, Engine, Setup};
pub use metrics::KdfMetrics;
pub use path::Path;

#[cfg(test)]
mod tests;
