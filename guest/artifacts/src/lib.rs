//! The components inside the server's binary, with the machine code that this crate's build script compiled.

pub use bulkhead_wasm::CRYPTO_SOFT;

/// A component inside the server's binary.
#[derive(Debug, Clone, Copy)]
pub struct Artifact {
    /// Name of the component, as in the file name `NAME.wasm`.
    pub name: &'static str,
    /// The component as WebAssembly.
    pub wasm: &'static [u8],
    /// The component, compiled by this build's wasmtime for the baseline processor of the sandbox.
    pub precompiled: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/artifacts.rs"));
