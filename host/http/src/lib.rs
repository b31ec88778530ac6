//! HTTP for a service that somebody else provides: connections and their threads, bodies within limits
//! on size, time and memory, content negotiation, problem documents, and the drain at the end.
//!
//! This crate does not know what the service does. [`serve`] calls a [`Service`] for each request.

mod body;
mod connection;
mod connection_io;
mod media_type;
mod memory_budget;
mod problem;
mod request;
mod response;
mod server;
mod service;
mod settings;
mod threads;

pub use body::{BodyError, BodyReader, Call};
pub use bulkhead_envelope::{
    ByteSize, InvalidSize, Problem as ProblemBody, Setting, Wiped, setting,
};
pub use media_type::{accept_quality, expect_json, negotiate};
pub use memory_budget::{LimitExceeded, MemoryBudget, RequestBody};
pub use problem::{OVERLOADED, Problem};
pub use request::{check_head, request_id};
pub use response::{REQUEST_ID, Response, json_response, response};
pub use server::{DrainEnd, serve};
pub use service::Service;
pub use settings::Settings;
pub use threads::{ConnectionThreads, RuntimeThread};
