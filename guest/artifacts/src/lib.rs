//! The guests as bytes: built, and compiled to machine code, by this crate's build script.

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
