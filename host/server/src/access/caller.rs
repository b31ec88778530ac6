//! The caller of a request.

use super::key_set::Entry;
use super::scope::{Scope, Scopes};

/// The caller of a request, and its rights.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    scopes: Scopes,
}

impl Caller {
    /// A caller of an open server, who has all rights.
    pub(crate) const OPEN: Self = Self {
        scopes: Scopes::ALL,
    };

    /// A caller without a valid key, who has no rights.
    pub(crate) const UNKNOWN: Self = Self {
        scopes: Scopes::NONE,
    };

    /// Returns the caller whose key belongs to this entry.
    pub(crate) fn of(entry: &Entry) -> Self {
        Self {
            scopes: entry.scopes,
        }
    }

    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.has_one_of(Scopes::of(&[scope]))
    }

    pub(crate) fn has_one_of(&self, scopes: Scopes) -> bool {
        self.scopes.has_one_of(scopes)
    }
}
