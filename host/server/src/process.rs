//! The process: memory, file descriptors, signals and the log.

pub(crate) mod allocator;
pub(crate) mod descriptors;
mod line_queue;
mod log_throttle;
pub(crate) mod logging;
pub(crate) mod signals;

pub(crate) use line_queue::{Batch, LineQueue};
pub(crate) use log_throttle::LogThrottle;
