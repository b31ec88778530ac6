//! The sandbox: one fresh WebAssembly instance for each piece of untrusted input.
//!
//! This is the only crate that uses wasmtime, and its public functions return none of wasmtime's types. It
//! does not depend on HTTP, on the configuration or on the source of components. It offers:
//! - [`Sandbox`], the engine;
//! - [`Compiled`], a component that was compiled at run time;
//! - [`Decryptor`], [`Authenticator`] and [`SigningComponent`], components that can be called, and
//!   [`GuestComponent`], their common trait;
//! - [`Pool`], the threads that guests run on;
//! - [`precompile`], for build scripts.
//!
//! A new kind of component needs a file like `token.rs`, and for it a `mod`, a `pub use` and an entry in the
//! list of [`World`]s in this file.
//!
//! An instance has no files, network, environment, arguments or clock. Its memory, tables, handles and
//! wall-clock time and the bytes copied to the host are limited. A trap ends that instance and nothing
//! else.

#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod about;
mod admission;
mod bindings;
mod codegen;
mod compiler;
mod crypto;
mod decrypt;
mod engine;
mod fault;
mod instance;
mod linked;
mod load;
mod metrics;
mod per_thread;
mod pool;
mod rejection;
mod signing;
mod token;
mod wasi;
mod world;

pub use about::Description;
pub use admission::{GuestComponent, KnownAnswerError, SelfTestError, verify};
pub use bulkhead_crypto::KdfLimits;
pub use bulkhead_kdf::{CallerId, CancelFlag};
pub use codegen::{EngineError, precompile};
pub use compiler::{CompileLimits, serve as serve_compiler};
pub use decrypt::{DecryptLimits, Decryptor, OpenError, OpenRequest, Opened};
pub use engine::{Sandbox, Setup, SetupError};
pub use fault::Fault;
pub use instance::{InstanceLimits, KdfCharge, KdfOffload};
pub use load::{Compiled, Loaded, Source, sha256};
pub use metrics::{ComponentMetrics, SandboxMetrics};
pub use per_thread::PerThread;
pub use pool::{CpuPermit, Pool, QueueFull, Waiting};
pub use rejection::{Rejection, RejectionKind, with_causes};
pub use signing::{
    Checking, Delivering, Delivery, Event, Failure, Operation, Reply, Response, SignedMessage,
    Signing, SigningComponent, Situation, VerifyError, Wait,
};
pub use token::{Algorithm, Authenticator};

world::worlds! {
    /// Opens messages.
    Decrypt "decrypt"
        exports ["bulkhead:decrypt/decryptor@0.2.0"]
        imports ["bulkhead:crypto/kdf@0.2.0", "bulkhead:crypto/bulk@0.2.0"]
    /// Makes and checks tokens.
    Token "token" exports ["bulkhead:token/authenticator@0.2.0"] imports []
    /// Decides for the signing relay.
    Signing "signing"
        exports ["bulkhead:signing/upstream@0.2.0", "bulkhead:signing/verifier@0.2.0", "bulkhead:signing/webhook@0.2.0"]
        imports []
}
