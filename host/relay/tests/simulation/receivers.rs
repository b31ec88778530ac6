//! The receivers of notifications, and the deliveries that they received.

use std::collections::BTreeMap;

/// The behaviour of a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Takes,
    Down,
    Fails,
    Redirects,
    Slow,
    Gone,
}

/// A delivery that a receiver received.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) at_ms: i64,
    pub(crate) url: String,
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) status: u16,
    /// The process that sent the delivery.
    pub(crate) by: u64,
    /// Whether the response reached that process in time.
    pub(crate) response_arrived: bool,
}

#[derive(Default)]
pub(crate) struct Receivers {
    manners: BTreeMap<String, Manner>,
    pub(crate) deliveries: Vec<Delivery>,
}

impl Receivers {
    pub(crate) fn set(&mut self, host: &str, manner: Manner) {
        self.manners.insert(host.to_owned(), manner);
    }

    pub(crate) fn all_take(&mut self) {
        for manner in self.manners.values_mut() {
            if *manner != Manner::Gone {
                *manner = Manner::Takes;
            }
        }
    }

    pub(crate) fn manner(&self, host: &str) -> Manner {
        self.manners.get(host).copied().unwrap_or(Manner::Takes)
    }
}
