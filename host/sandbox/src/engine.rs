//! The engine, which loads components and limits instances.

use crate::codegen::{EngineError, code_config};
use crate::load::{self, Compiled, Loaded, Source, sha256};
use crate::rejection::{Rejection, RejectionKind, with_causes};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The length of an epoch. Running guests check the clock about this often.
const TICK: Duration = Duration::from_millis(2);

/// Bytes of an instance's memory that stay mapped for the next instance, so that it causes fewer page faults.
const KEEP_RESIDENT_BYTES: usize = 1 << 20;

/// Maximum number of core instances in one component: the guest itself, and the shims that a component
/// linker adds.
const CORE_INSTANCES_PER_COMPONENT: u32 = 8;
const TABLES_PER_COMPONENT: u32 = 8;

/// Maximum number of elements of one table.
pub(crate) const TABLE_ELEMENTS: usize = 20_000;

/// The size of an engine. It is fixed once the engine is set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Maximum linear memory of an instance of any component, in bytes.
    pub memory_bytes_max: usize,
    /// Maximum number of instances at the same time, over all components.
    pub instances: u32,
}

/// The engine, and the thread that advances its epoch. A clone is a handle to the same engine.
#[derive(Clone)]
pub struct Sandbox {
    pub(crate) engine: Engine,
    ticker: Arc<Ticker>,
}

impl Sandbox {
    /// Creates an engine and starts the thread.
    ///
    /// # Errors
    /// [`SetupError`] if the kernel does not provide the address space for the instances, or does not start
    /// the thread.
    pub fn new(setup: &Setup) -> Result<Self, SetupError> {
        Self::start(engine(setup, Enabled::Auto)?)
    }

    /// Does the same as [`Self::new`], with a fixed way to reset memory, for tests and measurements. If
    /// `is_used`, the kernel reports which pages were written to (Linux 6.7 or later). Otherwise all pages
    /// are rewritten or dropped.
    ///
    /// # Errors
    /// The errors of [`Self::new`], and [`SetupError::Engine`] if the kernel cannot report written pages.
    #[cfg(any(test, feature = "pagemap-scan"))]
    pub fn with_pagemap_scan(setup: &Setup, is_used: bool) -> Result<Self, SetupError> {
        let pagemap_scan = if is_used { Enabled::Yes } else { Enabled::No };
        Self::start(engine(setup, pagemap_scan)?)
    }

    fn start(engine: Engine) -> Result<Self, SetupError> {
        let ticker = Ticker::start(engine.clone())?;
        Ok(Self {
            engine,
            ticker: Arc::new(ticker),
        })
    }

    /// Creates another engine, which shares only the thread with this one. A component that is loaded in
    /// one engine cannot be instantiated in the other. The thread keeps both engines alive until the last
    /// sandbox is dropped.
    ///
    /// # Errors
    /// [`SetupError::Engine`] if the kernel does not provide the address space for the instances.
    pub fn with_shared_ticker(&self, setup: &Setup) -> Result<Self, SetupError> {
        let engine = engine(setup, Enabled::Auto)?;
        self.ticker.add(engine.clone());
        Ok(Self {
            engine,
            ticker: Arc::clone(&self.ticker),
        })
    }

    /// Loads a component from machine code. If there is none, or this build or processor cannot use it,
    /// `wasm` is compiled, which takes about a second.
    ///
    /// # Errors
    /// [`Rejection`] if `wasm` has to be compiled and does not compile.
    pub fn load(
        &self,
        wasm: &[u8],
        precompiled: Option<&'static [u8]>,
    ) -> Result<Loaded, Rejection> {
        if let Some(machine_code) = precompiled {
            match load::trusted_machine_code(&self.engine, machine_code) {
                Ok(component) => {
                    return Ok(Loaded::new(component, Source::Precompiled, sha256(wasm)));
                }
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "precompiled component rejected, compiling it"
                ),
            }
        }
        let component = wasmtime::component::Component::from_binary(&self.engine, wasm)
            .map_err(|error| Rejection::compile(&EngineError(error)))?;
        Ok(Loaded::new(component, Source::Compiled, sha256(wasm)))
    }

    /// Loads a component that was compiled before.
    ///
    /// # Errors
    /// [`Rejection`] if an instance of the component needs more than this sandbox provides.
    pub fn load_compiled(&self, compiled: &Compiled) -> Result<Loaded, Rejection> {
        compiled.load(&self.engine)
    }
}

/// A sandbox cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The engine does not start. The kernel probably does not provide the address space.
    #[error("cannot reserve address space for the instances of components")]
    Engine(#[from] EngineError),
    /// The thread that advances the epoch does not start.
    #[error("cannot start the thread that advances the epoch")]
    Thread(#[from] std::io::Error),
}

/// The reason why a component cannot be checked on a machine that cannot set up a sandbox.
impl From<SetupError> for Rejection {
    fn from(error: SetupError) -> Self {
        Self::new(RejectionKind::TooDemanding, with_causes(&error))
    }
}

fn engine(setup: &Setup, pagemap_scan: Enabled) -> Result<Engine, EngineError> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(setup.instances)
        .total_core_instances(setup.instances.saturating_mul(CORE_INSTANCES_PER_COMPONENT))
        .total_memories(setup.instances)
        .total_tables(setup.instances.saturating_mul(TABLES_PER_COMPONENT))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(1)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(setup.memory_bytes_max)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_ELEMENTS * size_of::<usize>())
        .pagemap_scan(pagemap_scan);
    let mut config = code_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).map_err(EngineError)
}

/// A thread that advances the epoch of engines. It ends with the last of their sandboxes.
struct Ticker {
    engines: Arc<Mutex<Vec<Engine>>>,
    stop: Arc<AtomicBool>,
}

impl Ticker {
    fn start(engine: Engine) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let engines = Arc::new(Mutex::new(vec![engine]));
        let (stopped, ticking) = (Arc::clone(&stop), Arc::clone(&engines));
        std::thread::Builder::new()
            .name("epoch".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(TICK);
                    let engines = ticking.lock().unwrap_or_else(PoisonError::into_inner);
                    engines.iter().for_each(Engine::increment_epoch);
                }
            })?;
        Ok(Self { engines, stop })
    }

    fn add(&self, engine: Engine) {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.push(engine);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
