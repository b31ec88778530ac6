//! The components that ship inside the binary, with the machine code that this crate's build script made of them.

pub use bulkhead_wasm::CRYPTO_SOFT;

/// A component that ships inside the binary.
#[derive(Debug, Clone, Copy)]
pub struct Artifact {
    /// The name operators know it by.
    pub name: &'static str,
    /// The component itself.
    pub wasm: &'static [u8],
    /// The same, compiled for the sandbox's baseline processor by the wasmtime of this build.
    pub precompiled: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/artifacts.rs"));
