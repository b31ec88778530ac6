//! The engine: how components are compiled, and what instances may use.

use crate::codegen::{EngineError, code_config};
use crate::load::{self, Compiled, Loaded, Source, sha256};
use crate::refusal::{Refusal, RefusalKind, with_causes};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// One epoch. Running guests look at the clock about this often.
const TICK: Duration = Duration::from_millis(2);

/// Pages of an instance that stay mapped for the next one, instead of being faulted in again.
const KEEP_RESIDENT_OCTETS: usize = 1 << 20;

/// Core modules in one component: the guest itself, and the shims a component linker adds.
const CORE_INSTANCES_A_COMPONENT: u32 = 8;
const TABLES_A_COMPONENT: u32 = 8;

/// Elements of one table, however it grows.
pub(crate) const TABLE_ELEMENTS: usize = 20_000;

/// How the engine is set up; fixed for the life of the process.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Octets of linear memory that an instance may have at most, whatever its component.
    pub memory_octets_max: usize,
    /// Instances alive at the same time, over all components.
    pub instances: u32,
}

/// The engine, and the thread that lets time pass for its guests.
#[derive(Clone)]
pub struct Sandbox {
    pub(crate) engine: Engine,
    ticker: Arc<Ticker>,
}

impl Sandbox {
    /// Sets the engine up, and starts the thread.
    ///
    /// # Errors
    /// If the kernel does not provide the address space for the instances, or does not start the thread.
    pub fn new(setup: &Setup) -> Result<Self, SetupError> {
        Self::start(engine(setup, Enabled::Auto)?)
    }

    /// The same, but memory is reset in one way only: by asking the kernel which pages were touched (Linux 6.7 or
    /// later), or by rewriting or dropping all of them. For tests and measurements.
    ///
    /// # Errors
    /// As in [`Self::new`], and if the kernel cannot tell which pages were touched.
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

    /// One more, with nothing in common but the thread that lets time pass: what is loaded in one
    /// does not run in the other. Both live until the last of them is dropped.
    ///
    /// # Errors
    /// If the kernel does not provide the address space for the instances.
    pub fn beside(&self, setup: &Setup) -> Result<Self, SetupError> {
        let engine = engine(setup, Enabled::Auto)?;
        self.ticker.also(engine.clone());
        Ok(Self {
            engine,
            ticker: Arc::clone(&self.ticker),
        })
    }

    /// Makes a component ready: from machine code where there is some that this processor and this
    /// build accept, else by compiling `wasm`, which takes about a second.
    ///
    /// # Errors
    /// If `wasm` has to be compiled and does not compile.
    pub fn load(&self, wasm: &[u8], precompiled: Option<&'static [u8]>) -> Result<Loaded, Refusal> {
        if let Some(machine_code) = precompiled {
            match load::trusted_machine_code(&self.engine, machine_code) {
                Ok(component) => {
                    return Ok(Loaded::new(component, Source::Precompiled, sha256(wasm)));
                }
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "precompiled component refused, compiling it"
                ),
            }
        }
        let component = wasmtime::component::Component::from_binary(&self.engine, wasm)
            .map_err(|error| Refusal::compile(&EngineError(error)))?;
        Ok(Loaded::new(component, Source::Compiled, sha256(wasm)))
    }

    /// Makes a component ready that was compiled before.
    ///
    /// # Errors
    /// If an instance of the component needs more than this sandbox gives.
    pub fn load_compiled(&self, compiled: &Compiled) -> Result<Loaded, Refusal> {
        compiled.load(&self.engine)
    }
}

/// Why a sandbox is not set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The engine does not start. Most likely the kernel refuses the address space.
    #[error("cannot reserve address space for the instances of components")]
    Engine(#[from] EngineError),
    /// The thread that lets time pass for guests does not start.
    #[error("cannot start the thread that moves the epoch")]
    Thread(#[from] std::io::Error),
}

/// For a component that is checked on a machine that cannot set up a sandbox.
impl From<SetupError> for Refusal {
    fn from(error: SetupError) -> Self {
        Self::new(RefusalKind::TooDemanding, with_causes(&error))
    }
}

fn engine(setup: &Setup, pagemap_scan: Enabled) -> Result<Engine, EngineError> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(setup.instances)
        .total_core_instances(setup.instances.saturating_mul(CORE_INSTANCES_A_COMPONENT))
        .total_memories(setup.instances)
        .total_tables(setup.instances.saturating_mul(TABLES_A_COMPONENT))
        .max_core_instances_per_component(CORE_INSTANCES_A_COMPONENT)
        .max_memories_per_component(1)
        .max_tables_per_component(TABLES_A_COMPONENT)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(setup.memory_octets_max)
        .linear_memory_keep_resident(KEEP_RESIDENT_OCTETS)
        .table_keep_resident(TABLE_ELEMENTS * size_of::<usize>())
        .pagemap_scan(pagemap_scan);
    let mut config = code_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).map_err(EngineError)
}

/// One thread that moves the epoch of engines on; it ends with the last of their sandboxes.
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

    fn also(&self, engine: Engine) {
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
