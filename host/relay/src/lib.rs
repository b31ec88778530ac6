//! The signing relay: an interface one can rely on, in front of an upstream that one cannot.
//!
//! Requests are stored before they are answered. Whenever the quota has a slot, a message is tried;
//! what came of it and whom to tell is stored in one step; then receivers are told until they have
//! heard. What an answer means and how long to wait is for the signing component to say
//! ([`bulkhead_sandbox::SigningComponent`]), what is due and who may do it for the store
//! ([`bulkhead_store::Store`]): here are the loops that perform it.
//!
//! Nothing here reads a clock, makes a random number or opens a socket: a [`World`] does.

mod calls;
mod checks;
mod conclusion;
mod condition;
mod metrics;
mod notifications;
mod relay;
mod settings;
mod tasks;
mod upkeep;
mod waiters;
mod world;

pub use conclusion::Mood;
pub use condition::{Condition, KeyCheck};
pub use metrics::RelayMetrics;
pub use relay::{Relay, Signed, SigningComponents, Unable};
pub use settings::{Settings, WebhookSecret};
pub use world::{Going, Heard, Point, World};
