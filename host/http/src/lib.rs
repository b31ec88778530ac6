//! An HTTP server for any service: connections and their threads, request bodies with limits on size, time
//! and memory, content negotiation, problem documents, and draining at the end.
//!
//! This crate does not depend on the service. [`serve`] calls a [`Service`] for each request.

mod body;
mod connection;
mod connection_io;
mod head_timer;
mod listener;
mod media_type;
mod memory_budget;
mod problem;
pub mod problem_kind;
mod request;
mod response;
mod server;
mod service;
mod settings;
mod socket;
mod threads;
mod tls;

pub use body::{BodyError, BodyReader, Call, RequestFacts};
pub use bulkhead_envelope::problem_kind as envelope_kinds;
pub use bulkhead_envelope::problem_kinds;
pub use bulkhead_envelope::{
    ByteSize, InvalidSize, Problem as ProblemBody, ProblemKind, Setting, Wiped, setting,
};
pub use listener::{Address, Listener};
pub use media_type::{accept_quality, expect_json, negotiate};
pub use memory_budget::{LimitExceeded, MemoryBudget, RequestBody};
pub use problem::Problem;
pub use request::{check_head, request_id};
pub use response::{REQUEST_ID, Response, json_response, response};
pub use server::{DrainEnd, ListenerGroup, serve};
pub use service::{Connection, Service};
pub use settings::Settings;
pub use threads::{ConnectionThreads, RuntimeThread};
pub use tls::{ClientCertificate, HandshakeFailure, Tls, TlsConfig, TlsError, TlsFiles};
