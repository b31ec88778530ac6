//! Compilation of components, the same at build time and at run time.

use wasmtime::{Config, Engine};

/// Compiles a component, for build scripts. Returns machine code that
/// [`Sandbox::load`](crate::Sandbox::load) accepts in a program of the same build.
///
/// # Errors
/// [`EngineError`] if `wasm` is not a component that the engine can compile.
pub fn precompile(wasm: &[u8]) -> Result<Vec<u8>, EngineError> {
    compile_with(&code_config(), wasm)
}

/// Does the same on the calling thread alone.
pub(crate) fn compile(wasm: &[u8]) -> Result<Vec<u8>, EngineError> {
    let mut config = code_config();
    config.parallel_compilation(false);
    compile_with(&config, wasm)
}

fn compile_with(config: &Config, wasm: &[u8]) -> Result<Vec<u8>, EngineError> {
    Engine::new(config)
        .and_then(|engine| engine.precompile_component(wasm))
        .map_err(EngineError)
}

/// An error of the engine. Its text includes all causes.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct EngineError(pub(crate) wasmtime::Error);

/// Returns all options that the machine code depends on. They are the same at build time and at run time.
pub(crate) fn code_config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(None)
        .memory_init_cow(true);
    // Without a target, the code would use extensions of the processor that builds. The image must start on
    // every processor of the architecture.
    config
        .target(BASELINE)
        .expect("wasmtime should know the baseline target");
    config
}

#[cfg(target_arch = "x86_64")]
const BASELINE: &str = "x86_64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
const BASELINE: &str = "aarch64-unknown-linux-gnu";
