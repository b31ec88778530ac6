//! One instance: its state, its limits, and what became of it.

use crate::engine::{Sandbox, TABLE_ELEMENTS};
use crate::fault::Fault;
use crate::pool::CpuPermit;
use bulkhead_crypto::KdfLimits;
use bulkhead_kdf::{CancelFlag, Cancellation, Engine};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::cli::{WasiCliCtx, WasiCliCtxView};
use wasmtime_wasi::random::WasiRandomCtx;
use zeroize::Zeroize as _;

/// Handles (streams, pollables) one instance may hold. A guest that panics needs a few.
const HANDLES: usize = 64;

/// Octets that one call may copy from guest to host, beyond which the call traps. The largest
/// honest ones are a whole message's.
const HOSTCALL_OCTETS_SPARE: usize = 1 << 20;

/// What one instance may use.
#[derive(Debug, Clone, Copy)]
pub struct InstanceLimits {
    /// Octets of linear memory; at most what the sandbox was set up with.
    pub memory_octets: usize,
    /// Wall-clock time from instantiation to answer, host calls included.
    pub time: Duration,
}

/// What a store holds beside the guest.
pub(crate) struct State {
    cli: Option<WasiCliCtx>,
    pub(crate) table: ResourceTable,
    random: Option<WasiRandomCtx>,
    memory_octets_max: usize,
    /// Linear memory it has.
    pub(crate) memory_octets: usize,
    memory_refused: bool,
    pub(crate) kdf_limits: KdfLimits,
    /// Octets hashed so far.
    pub(crate) s2k_octets: Cell<u64>,
    /// Keys that were handed to the guest: wiped with this.
    lent: Vec<Arc<[u8]>>,
    pub(crate) kdf_offload: Option<KdfOffload>,
    cancel: CancelFlag,
    deadline: Instant,
}

/// Derives keys on threads of their own. The thread of the instance releases its permit meanwhile.
#[derive(Clone)]
pub struct KdfOffload {
    /// The engine with the threads.
    pub engine: Arc<Engine>,
    /// The permit of the job that runs the instance.
    pub permit: CpuPermit,
}

impl State {
    /// The command line of WASI, with nothing on it, made when first asked for: most guests never do.
    pub(crate) fn cli(&mut self) -> WasiCliCtxView<'_> {
        WasiCliCtxView {
            ctx: self.cli.get_or_insert_with(WasiCliCtx::default),
            table: &mut self.table,
        }
    }

    /// The random numbers of WASI, made when first asked for: most guests never do.
    pub(crate) fn random(&mut self) -> &mut WasiRandomCtx {
        self.random.get_or_insert_with(WasiRandomCtx::default)
    }

    /// A key to be handed to the guest. wasmtime copies it into the guest's memory and drops it, which
    /// would leave it where it was; so it stays here until it is wiped.
    pub(crate) fn lend(&mut self, key: &[u8]) -> Arc<[u8]> {
        let key = Arc::from(key);
        self.lent.push(Arc::clone(&key));
        key
    }

    /// When work for the instance is given up.
    pub(crate) fn cancellation(&self) -> Cancellation {
        Cancellation {
            flag: self.cancel.clone(),
            deadline: self.deadline,
        }
    }

    /// Whether to go on; otherwise the reason not to.
    pub(crate) fn go_on(&self) -> Result<(), Fault> {
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
    /// Why work for the instance was cancelled: for the reason of [`Self::go_on`], or because the thread that did it
    /// panicked.
    pub(crate) fn cancelled(&self) -> Fault {
        let gone = || Fault::Trap("the key derivation ended without a key".into());
        self.go_on().err().unwrap_or_else(gone)
    }
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory_octets_max;
        if allowed {
            self.memory_octets = desired;
        }
        self.memory_refused |= !allowed;
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

/// What one instance gets.
pub(crate) struct Budget {
    pub(crate) limits: InstanceLimits,
    pub(crate) kdf: KdfLimits,
    pub(crate) kdf_offload: Option<KdfOffload>,
    pub(crate) cancel: CancelFlag,
}

pub(crate) fn store(
    sandbox: &Sandbox,
    budget: Budget,
    start: Instant,
    copied_octets: usize,
) -> Store<State> {
    let mut table = ResourceTable::new();
    table.set_max_capacity(HANDLES);
    let mut store = Store::new(
        &sandbox.engine,
        State {
            cli: None,
            table,
            random: None,
            memory_octets_max: budget.limits.memory_octets,
            memory_octets: 0,
            memory_refused: false,
            kdf_limits: budget.kdf,
            s2k_octets: Cell::new(0),
            lent: Vec::new(),
            kdf_offload: budget.kdf_offload,
            cancel: budget.cancel,
            deadline: start + budget.limits.time,
        },
    );
    store.limiter(|state| state);
    store.set_hostcall_fuel(copied_octets + HOSTCALL_OCTETS_SPARE);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        store.data().go_on()?;
        Ok(UpdateDeadline::Continue(1))
    });
    store
}

/// What ended the guest. A guest whose memory may not grow aborts on its own; that is the limit's
/// doing and not a bug of the guest.
pub(crate) fn fault(store: &Store<State>, error: &wasmtime::Error) -> Fault {
    if let Some(fault) = error.downcast_ref::<Fault>() {
        return fault.clone();
    }
    if store.data().memory_refused {
        return Fault::Memory;
    }
    Fault::Trap(format!("{:#}", error.root_cause()))
}
