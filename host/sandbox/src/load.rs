//! The one unsafe step: machine code from our own build is taken as it is.

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// A component ready to be linked.
pub struct Loaded {
    pub(crate) component: Component,
    source: Source,
    sha256: [u8; 32],
}

/// Where a component's machine code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Made by the build.
    Precompiled,
    /// Made just now, from Wasm.
    Compiled,
}

impl Loaded {
    pub(crate) fn new(component: Component, source: Source, wasm: &[u8]) -> Self {
        let sha256 = Sha256::digest(wasm).into();
        Self {
            component,
            source,
            sha256,
        }
    }

    /// SHA-256 of the Wasm, wherever the machine code came from.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// Where its machine code came from.
    pub fn source(&self) -> Source {
        self.source
    }
}

/// Takes over machine code that this project's own build made.
///
/// wasmtime checks that the code is of its own version, of the same settings and for features this
/// processor has, and refuses it otherwise; it cannot check that nobody tampered with it. The
/// `'static` lifetime keeps files out: what is passed here was linked into the binary.
#[expect(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "deserializing machine code means trusting it; this is the only place that does"
)]
pub(crate) fn trusted_machine_code(
    engine: &Engine,
    machine_code: &'static [u8],
) -> wasmtime::Result<Component> {
    // SAFETY: `machine_code` is the output of `precompile` in our build script, embedded by
    // `include_bytes!`; see above for what keeps other octets out.
    unsafe { Component::deserialize(engine, machine_code) }
}
