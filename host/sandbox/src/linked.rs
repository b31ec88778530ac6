//! Linking, description, self-test and calls, which are the same for all components.

use crate::about::Description;
use crate::about::bindings::exports::bulkhead::component::about;
use crate::crypto;
use crate::engine::Sandbox;
use crate::fault::Fault;
use crate::instance::{self, Budget, InstanceLimits, State};
use crate::load::Loaded;
use crate::metrics::ComponentMetrics;
use crate::rejection::Rejection;
use crate::wasi;
use crate::world::Contract;
use bulkhead_crypto::KdfLimits;
use bulkhead_kdf::CancelFlag;
use std::time::Instant;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre, Linker};

/// A component with its imports, ready to be instantiated.
pub struct Linked {
    sandbox: Sandbox,
    instances: InstancePre<State>,
    about: about::GuestIndices,
    limits: InstanceLimits,
    metrics: ComponentMetrics,
}

impl Linked {
    /// Links a component. Fails if the component imports an interface that `contract` does not allow, or
    /// does not export one that `contract` requires.
    pub(crate) fn new(
        contract: &Contract,
        sandbox: &Sandbox,
        loaded: &Loaded,
        limits: InstanceLimits,
        metrics: ComponentMetrics,
    ) -> Result<Self, Rejection> {
        contract.check(&loaded.component, &sandbox.engine)?;
        let mut linker = Linker::new(&sandbox.engine);
        let link = |linker: &mut Linker<State>| {
            wasi::add_inert(linker)?;
            if contract.imports(&crypto::INTERFACES) {
                crypto::link(linker)?;
            }
            linker.instantiate_pre(&loaded.component)
        };
        let instances = link(&mut linker).map_err(|error| Rejection::link(&error))?;
        let about =
            about::GuestIndices::new(&instances).map_err(|error| Rejection::link(&error))?;
        Ok(Self {
            sandbox: sandbox.clone(),
            instances,
            about,
            limits,
            metrics,
        })
    }

    /// Looks up the functions of an interface in the component.
    pub(crate) fn find<T>(
        &self,
        find: impl FnOnce(&InstancePre<State>) -> wasmtime::Result<T>,
    ) -> Result<T, Rejection> {
        find(&self.instances).map_err(|error| Rejection::link(&error))
    }

    pub(crate) fn describe(&self) -> Result<Description, Fault> {
        self.call(self.budget(), 0, |store, instance| {
            let about = self.about.load(&mut *store, instance)?;
            about.call_describe(store)
        })
    }

    /// Runs the self-test. The inner error is the text that the component reports.
    pub(crate) fn self_test(&self, kdf: KdfLimits) -> Result<Result<(), String>, Fault> {
        let budget = Budget {
            kdf,
            ..self.budget()
        };
        self.call(budget, 0, |store, instance| {
            let about = self.about.load(&mut *store, instance)?;
            about.call_self_test(store)
        })
    }

    /// Returns the budget of a call that derives no keys and cannot be cancelled.
    pub(crate) fn budget(&self) -> Budget {
        Budget {
            limits: self.limits,
            kdf: KdfLimits::ZERO,
            kdf_offload: None,
            kdf_charge: None,
            cancel: CancelFlag::default(),
        }
    }

    /// Makes one call in a fresh store and instance, which are dropped afterwards. `copied_bytes` is the
    /// maximum of the data that the guest is expected to pass to the host in one call.
    pub(crate) fn call<R>(
        &self,
        budget: Budget,
        copied_bytes: usize,
        call: impl FnOnce(&mut Store<State>, &Instance) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        let start = Instant::now();
        let mut store = instance::store(&self.sandbox, budget, start, copied_bytes);
        let outcome = self
            .instances
            .instantiate(&mut store)
            .and_then(|instance| {
                self.metrics.started(start.elapsed());
                call(&mut store, &instance)
            })
            .map_err(|error| instance::fault(&store, &error));
        self.metrics.ended(&outcome, store.data().memory_bytes);
        outcome
    }
}
