//! The signing relay: a reliable interface in front of an unreliable upstream.
//!
//! Requests are stored before they are acknowledged. Whenever the quota has a free slot, the relay calls
//! the upstream for a message. It stores the result together with the notifications that follow from it,
//! and then sends each notification until the receiver accepts it.
//!
//! The signing component ([`bulkhead_sandbox::SigningComponent`]) decides what a response means and how
//! long to wait. The store ([`bulkhead_store::Store`]) decides what is due and which replica does it. This
//! crate contains the loops that carry out these decisions.
//!
//! The crate reads no clock, generates no random numbers and opens no sockets. An [`Environment`] provides
//! all of these.

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
pub use settings::{Settings, WebhookSecret, WebhookSecrets};
