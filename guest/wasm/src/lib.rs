//! The components of the server as WebAssembly, built by this crate's build script.

include!(concat!(env!("OUT_DIR"), "/guests.rs"));
