//! Machine code: made by the build for what ships with the binary, made here for files. To take it over
//! is the one unsafe step of the sandbox.

use crate::codegen;
use crate::compiler::{self, CompileLimits};
use crate::refusal::{Refusal, RefusalKind};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// What WebAssembly begins with.
const MAGIC: &[u8; 4] = b"\0asm";
/// Then the kind: version and layer of a component, or of a core module.
const COMPONENT: &[u8; 4] = &[0x0d, 0, 1, 0];
const CORE_MODULE: &[u8; 4] = &[1, 0, 0, 0];

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
    pub(crate) fn new(component: Component, source: Source, sha256: [u8; 32]) -> Self {
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

/// SHA-256 of a component's Wasm, by which it is told from others.
pub fn sha256(wasm: &[u8]) -> [u8; 32] {
    Sha256::digest(wasm).into()
}

/// A component that this program compiled, for all of its sandboxes.
pub struct Compiled {
    machine_code: Vec<u8>,
    sha256: [u8; 32],
}

impl Compiled {
    /// Compiles Wasm of our own, on the calling thread: about a second for each megabyte.
    ///
    /// # Errors
    /// If `wasm` is not a component, or does not compile.
    pub fn new(wasm: &[u8]) -> Result<Self, Refusal> {
        Self::by(wasm, |wasm| {
            codegen::compile(wasm).map_err(|error| Refusal::compile(&error))
        })
    }

    /// Compiles the Wasm of others: in a process of its own, which is this program with `arguments` and the
    /// limits (in octets and seconds) behind them. With these it has to call
    /// [`serve_compiler`](crate::serve_compiler) and nothing else. Blocks until it ends.
    ///
    /// # Errors
    /// If `wasm` is not a component or does not compile, if that takes more than the limits allow, or if the
    /// process does not start.
    pub fn apart(wasm: &[u8], arguments: &[&str], limits: &CompileLimits) -> Result<Self, Refusal> {
        Self::by(wasm, |wasm| {
            compiler::compile_apart(wasm, arguments, limits)
        })
    }

    fn by(
        wasm: &[u8],
        compile: impl FnOnce(&[u8]) -> Result<Vec<u8>, Refusal>,
    ) -> Result<Self, Refusal> {
        let not_a_component = |reason| Err(Refusal::new(RefusalKind::NotAComponent, reason));
        match wasm.strip_prefix(MAGIC) {
            None => return not_a_component("it is not WebAssembly"),
            Some(rest) if rest.starts_with(CORE_MODULE) => {
                return not_a_component(
                    "it is a core module and not a component: build it for wasm32-wasip2, or make a \
                     component of it with `wasm-tools component new`",
                );
            }
            Some(rest) if rest.len() >= COMPONENT.len() && !rest.starts_with(COMPONENT) => {
                return not_a_component("it is of a version of WebAssembly that is not known here");
            }
            Some(_) => {}
        }
        Ok(Self {
            machine_code: compile(wasm)?,
            sha256: sha256(wasm),
        })
    }

    /// SHA-256 of the Wasm.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    pub(crate) fn load(&self, engine: &Engine) -> Result<Loaded, Refusal> {
        let component = own_machine_code(engine, &self.machine_code).map_err(|error| {
            Refusal::new(
                RefusalKind::TooDemanding,
                format!("an instance of it does not fit: {error:#}"),
            )
        })?;
        Ok(Loaded::new(component, Source::Compiled, self.sha256))
    }
}

/// Takes over machine code that this project's own build made. The `'static` lifetime keeps files out:
/// what is passed here was linked into the binary.
pub(crate) fn trusted_machine_code(
    engine: &Engine,
    machine_code: &'static [u8],
) -> wasmtime::Result<Component> {
    own_machine_code(engine, machine_code)
}

/// Takes over machine code that came out of a compiler of ours: that of the build, or one of
/// [`Compiled`].
///
/// wasmtime checks that the code is of its own version, of the same settings and for features this
/// processor has, and refuses it otherwise; it cannot check that nobody tampered with it.
#[expect(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "deserializing machine code means trusting it; this is the only place that does"
)]
fn own_machine_code(engine: &Engine, machine_code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `machine_code` is the output of `precompile` in our build script, embedded by
    // `include_bytes!`, or of `codegen::compile`: in this process, or in one that it started from its own
    // image and that hands it over by a pipe nobody else has. It is private to `Compiled` since; no other
    // octets get here.
    unsafe { Component::deserialize(engine, machine_code) }
}
