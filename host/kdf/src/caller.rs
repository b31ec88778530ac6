//! The callers that share the threads.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// A caller with a fair share of the threads, whatever the number of its derivations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CallerId(u64);

impl CallerId {
    /// The id of all callers without a name. They share as one.
    pub const UNKNOWN: Self = Self(0);

    /// Returns the id of the caller with this name. Two names have the same id with a probability of 2^-64, and then
    /// share as one.
    pub fn of(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }
}
