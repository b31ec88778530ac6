//! The state and the limits of one instance, and the reason why it ended.

use crate::engine::{Sandbox, TABLE_ELEMENTS};
use crate::fault::Fault;
use crate::pool::CpuPermit;
use bulkhead_crypto::KdfLimits;
use bulkhead_kdf::{CallerId, CancelFlag, Cancellation, Engine};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::cli::{WasiCliCtx, WasiCliCtxView};
use wasmtime_wasi::random::WasiRandomCtx;
use zeroize::Zeroize as _;

/// Maximum number of handles (streams, pollables) of one instance. A guest that panics needs a few.
const HANDLES_MAX: usize = 64;

/// Bytes that one call may copy from guest to host in addition to the data that the caller expects. A call
/// that copies more traps.
const HOSTCALL_SPARE_BYTES: usize = 1 << 20;

/// The limits on one instance.
#[derive(Debug, Clone, Copy)]
pub struct InstanceLimits {
    /// Maximum linear memory, in bytes. It must not exceed that of the sandbox.
    pub memory_bytes: usize,
    /// Maximum wall-clock time from instantiation to the result, including calls of host functions.
    pub time: Duration,
}

/// The state of an instance on the host's side.
pub(crate) struct State {
    cli: Option<WasiCliCtx>,
    pub(crate) table: ResourceTable,
    random: Option<WasiRandomCtx>,
    memory_bytes_max: usize,
    /// The current linear memory, in bytes.
    pub(crate) memory_bytes: usize,
    memory_exceeded: bool,
    pub(crate) kdf_limits: KdfLimits,
    /// Bytes hashed so far.
    pub(crate) s2k_bytes: Cell<u64>,
    /// Keys that were passed to the guest. They are wiped when the state is dropped.
    lent: Vec<Arc<[u8]>>,
    pub(crate) kdf_offload: Option<KdfOffload>,
    pub(crate) kdf_charge: Option<KdfCharge>,
    cancel: CancelFlag,
    deadline: Instant,
}

/// Charges the caller with a number of bytes before they are derived. Returns false if the caller may not use them now,
/// which ends the instance with [`Fault::KeysCharged`]. Argon2 counts its memory once for each pass.
pub type KdfCharge = Box<dyn Fn(u64) -> bool + Send>;

/// Key derivation on separate threads. The thread of the instance releases its permit while it waits.
#[derive(Clone)]
pub struct KdfOffload {
    /// The engine that owns the threads.
    pub engine: Arc<Engine>,
    /// The caller, who has a fair share of the engine.
    pub caller: CallerId,
    /// The permit of the job that runs the instance.
    pub permit: CpuPermit,
}

impl State {
    /// Returns WASI's command line, which is empty. It is created at the first use, because most guests
    /// never use it.
    pub(crate) fn cli(&mut self) -> WasiCliCtxView<'_> {
        WasiCliCtxView {
            ctx: self.cli.get_or_insert_with(WasiCliCtx::default),
            table: &mut self.table,
        }
    }

    /// Returns WASI's random numbers. They are created at the first use, because most guests never use them.
    pub(crate) fn random(&mut self) -> &mut WasiRandomCtx {
        self.random.get_or_insert_with(WasiRandomCtx::default)
    }

    /// Returns a copy of a key for the guest. wasmtime copies it into the guest's memory and drops it
    /// without wiping it. Therefore the state keeps a reference until it wipes the key.
    pub(crate) fn lend(&mut self, key: &[u8]) -> Arc<[u8]> {
        let key = Arc::from(key);
        self.lent.push(Arc::clone(&key));
        key
    }

    /// Returns the conditions under which work for the instance is cancelled.
    pub(crate) fn cancellation(&self) -> Cancellation {
        Cancellation {
            flag: self.cancel.clone(),
            deadline: self.deadline,
        }
    }

    /// Charges the caller with the bytes of a key derivation. Otherwise returns the reason why the instance must end.
    pub(crate) fn charge_kdf(&self, bytes: u64) -> Result<(), Fault> {
        match &self.kdf_charge {
            Some(charge) if !charge(bytes) => Err(Fault::KeysCharged),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that the instance is not cancelled and has time left. Otherwise returns the reason why it must end.
    pub(crate) fn check_running(&self) -> Result<(), Fault> {
        if self.cancel.is_cancelled() {
            Err(Fault::Cancelled)
        } else if Instant::now() >= self.deadline {
            Err(Fault::Deadline)
        } else {
            Ok(())
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for key in &mut self.lent {
            if let Some(key) = Arc::get_mut(key) {
                key.zeroize();
            }
        }
    }
}

impl State {
    /// Returns the reason why work for the instance was cancelled: that of [`Self::check_running`], or a panic of
    /// the thread that did the work.
    pub(crate) fn cancelled(&self) -> Fault {
        let gone = || Fault::Trap("the key derivation ended without a key".into());
        self.check_running().err().unwrap_or_else(gone)
    }
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory_bytes_max;
        if allowed {
            self.memory_bytes = desired;
        }
        self.memory_exceeded |= !allowed;
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}

/// The limits on the instance of one call, and its connections to the host.
pub(crate) struct Budget {
    pub(crate) limits: InstanceLimits,
    pub(crate) kdf: KdfLimits,
    pub(crate) kdf_offload: Option<KdfOffload>,
    pub(crate) kdf_charge: Option<KdfCharge>,
    pub(crate) cancel: CancelFlag,
}

/// Creates the store of an instance whose time began at `start`. `copied_bytes` is the maximum of the data
/// that the guest is expected to pass to the host in one call.
pub(crate) fn store(
    sandbox: &Sandbox,
    budget: Budget,
    start: Instant,
    copied_bytes: usize,
) -> Store<State> {
    let mut table = ResourceTable::new();
    table.set_max_capacity(HANDLES_MAX);
    let mut store = Store::new(
        &sandbox.engine,
        State {
            cli: None,
            table,
            random: None,
            memory_bytes_max: budget.limits.memory_bytes,
            memory_bytes: 0,
            memory_exceeded: false,
            kdf_limits: budget.kdf,
            s2k_bytes: Cell::new(0),
            lent: Vec::new(),
            kdf_offload: budget.kdf_offload,
            kdf_charge: budget.kdf_charge,
            cancel: budget.cancel,
            deadline: start + budget.limits.time,
        },
    );
    store.limiter(|state| state);
    store.set_hostcall_fuel(copied_bytes + HOSTCALL_SPARE_BYTES);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        store.data().check_running()?;
        Ok(UpdateDeadline::Continue(1))
    });
    store
}

/// Returns the reason why a guest ended. A guest aborts if its memory cannot grow, which counts as reaching
/// the memory limit and not as a trap.
pub(crate) fn fault(store: &Store<State>, error: &wasmtime::Error) -> Fault {
    if let Some(fault) = error.downcast_ref::<Fault>() {
        return fault.clone();
    }
    if store.data().memory_exceeded {
        return Fault::Memory;
    }
    Fault::Trap(format!("{:#}", error.root_cause()))
}
