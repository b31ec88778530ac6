//! Machine code of components. The build compiles the built-in components, and this module compiles files.
//! Loading machine code is the only unsafe step of the sandbox.

use crate::codegen;
use crate::compiler::{self, CompileLimits};
use crate::rejection::{Rejection, RejectionKind};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// The first bytes of WebAssembly.
const MAGIC: &[u8; 4] = b"\0asm";
/// The bytes that follow: version and layer of a component, or of a core module.
const COMPONENT: &[u8; 4] = &[0x0d, 0, 1, 0];
const CORE_MODULE: &[u8; 4] = &[1, 0, 0, 0];

/// A component that can be linked.
pub struct Loaded {
    pub(crate) component: Component,
    source: Source,
    sha256: [u8; 32],
}

/// The source of a component's machine code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The build compiled it.
    Precompiled,
    /// This program compiled it.
    Compiled,
}

impl Loaded {
    pub(crate) fn new(component: Component, source: Source, sha256: [u8; 32]) -> Self {
        Self {
            component,
            source,
            sha256,
        }
    }

    /// Returns the SHA-256 of the Wasm, for both sources of machine code.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// Returns the source of the machine code.
    pub fn source(&self) -> Source {
        self.source
    }
}

/// Returns the SHA-256 of a component's Wasm, which identifies the component.
pub fn sha256(wasm: &[u8]) -> [u8; 32] {
    Sha256::digest(wasm).into()
}

/// A component that this program compiled. All of its sandboxes can load it.
pub struct Compiled {
    machine_code: Vec<u8>,
    sha256: [u8; 32],
}

impl Compiled {
    /// Compiles trusted Wasm on the calling thread, which takes about a second per megabyte. Use
    /// [`Self::in_child_process`] for files of others.
    ///
    /// # Errors
    /// [`Rejection`] if `wasm` is not a component, or does not compile.
    pub fn new(wasm: &[u8]) -> Result<Self, Rejection> {
        Self::by(wasm, |wasm| {
            codegen::compile(wasm).map_err(|error| Rejection::compile(&error))
        })
    }

    /// Compiles untrusted Wasm in a process of its own. The process is this program with `arguments`,
    /// followed by the limits in bytes and seconds. With these arguments the program must only call
    /// [`serve_compiler`](crate::serve_compiler). Blocks until the process ends.
    ///
    /// # Errors
    /// [`Rejection`] if `wasm` is not a component or does not compile, if that takes more than the limits
    /// allow, or if the process does not start.
    pub fn in_child_process(
        wasm: &[u8],
        arguments: &[&str],
        limits: &CompileLimits,
    ) -> Result<Self, Rejection> {
        Self::by(wasm, |wasm| {
            compiler::compile_in_child_process(wasm, arguments, limits)
        })
    }

    fn by(
        wasm: &[u8],
        compile: impl FnOnce(&[u8]) -> Result<Vec<u8>, Rejection>,
    ) -> Result<Self, Rejection> {
        let not_a_component = |reason| Err(Rejection::new(RejectionKind::NotAComponent, reason));
        match wasm.strip_prefix(MAGIC) {
            None => return not_a_component("it is not WebAssembly"),
            Some(rest) if rest.starts_with(CORE_MODULE) => {
                return not_a_component(
                    "it is a core module and not a component; build it for wasm32-wasip2, or convert it \
                     with `wasm-tools component new`",
                );
            }
            Some(rest) if rest.len() >= COMPONENT.len() && !rest.starts_with(COMPONENT) => {
                return not_a_component(
                    "its version of WebAssembly is not supported; build it for wasm32-wasip2",
                );
            }
            Some(_) => {}
        }
        Ok(Self {
            machine_code: compile(wasm)?,
            sha256: sha256(wasm),
        })
    }

    /// Returns the SHA-256 of the Wasm.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    pub(crate) fn load(&self, engine: &Engine) -> Result<Loaded, Rejection> {
        let component = own_machine_code(engine, &self.machine_code).map_err(|error| {
            Rejection::new(
                RejectionKind::TooDemanding,
                format!("its instances need too much: {error:#}"),
            )
        })?;
        Ok(Loaded::new(component, Source::Compiled, self.sha256))
    }
}

/// Loads machine code that the build of this program made. The `'static` lifetime keeps files out: such
/// machine code was linked into the binary.
pub(crate) fn trusted_machine_code(
    engine: &Engine,
    machine_code: &'static [u8],
) -> wasmtime::Result<Component> {
    own_machine_code(engine, machine_code)
}

/// Loads machine code that a compiler of this project made: that of the build, or that of [`Compiled`].
///
/// wasmtime rejects machine code of another version of itself, of other settings, or for features that this
/// processor lacks. It cannot detect manipulated machine code.
#[expect(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "deserializing machine code means trusting it, and only this function does it"
)]
fn own_machine_code(engine: &Engine, machine_code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `machine_code` is the output of `precompile` in the build script, embedded by
    // `include_bytes!`, or the output of `codegen::compile`. The latter ran in this process, or in a
    // process that this one started from its own image and that returned the output through a pipe between
    // the two. `Compiled` then kept it in a private field. No other bytes are passed to this function.
    unsafe { Component::deserialize(engine, machine_code) }
}
