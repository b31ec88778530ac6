//! Handlers of routes that do not belong to a capability.

pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod problems;
