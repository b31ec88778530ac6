//! The signing relay: an interface one can rely on, in front of an upstream that one cannot.
//!
//! Requests are stored before they are answered. Whenever the quota has a slot, a message is tried;
//! what came of it and whom to tell is stored in one step; then receivers are told until they have
//! heard. What an answer means and how long to wait is for the signing component to say
//! ([`bulkhead_sandbox::SigningComponent`]), what is due and who may do it for the store
//! ([`bulkhead_store::Store`]): here are the loops that perform it.
//!
//! Nothing here reads a clock, makes a random number or opens a socket: an [`Environment`] does.

mod calls;
mod checks;
mod core;
mod decision;
mod environment;
mod error;
mod health;
mod maintenance;
mod metrics;
mod notifications;
mod relay;
mod settings;
mod tasks;
mod waiters;

pub use self::core::{Relay, SigningComponents};
pub use decision::UpstreamHealth;
pub use environment::{BoxFuture, CallResult, Environment, Point};
pub use error::RelayError;
pub use health::{KeyCheck, RelayHealth};
pub use metrics::RelayMetrics;
pub use relay::SignOutcome;
pub use settings::{Settings, WebhookSecret};
