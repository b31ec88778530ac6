//! The token component, as the host calls it.

use crate::about::Description;
use crate::engine::Sandbox;
use crate::instance::{self, Budget, Fault, InstanceLimits, Interrupt, KdfLimits, State};
use crate::load::Loaded;
use crate::metrics::ComponentMetrics;
use crate::wasi;
use wasmtime::component::{Instance, InstancePre, Linker};

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit/component", "../../wit/token"],
        world: "bulkhead:token/token",
    });
}

use bindings::exports::bulkhead::component::about;
use bindings::exports::bulkhead::token::authenticator;

/// The hash under the HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// The token component, linked and ready to be instantiated.
pub struct Authenticator {
    sandbox: Sandbox,
    instances: InstancePre<State>,
    /// Interface by interface, since each call looks up no more than it needs.
    tokens: authenticator::GuestIndices,
    about: about::GuestIndices,
    limits: InstanceLimits,
    metrics: ComponentMetrics,
}

impl Authenticator {
    /// Links a component. Fails if it imports what its world does not allow, or does not export
    /// what its world demands; the text names it.
    pub fn new(
        sandbox: &Sandbox,
        loaded: &Loaded,
        limits: InstanceLimits,
        metrics: ComponentMetrics,
    ) -> Result<Self, String> {
        let text = |error: wasmtime::Error| format!("{error:#}");
        let mut linker = Linker::new(&sandbox.engine);
        wasi::add_inert(&mut linker).map_err(text)?;
        let instances = linker.instantiate_pre(&loaded.component).map_err(text)?;
        let tokens = authenticator::GuestIndices::new(&instances).map_err(text)?;
        let about = about::GuestIndices::new(&instances).map_err(text)?;
        Ok(Self {
            sandbox: sandbox.clone(),
            instances,
            tokens,
            about,
            limits,
            metrics,
        })
    }

    /// The token of `body`, as lowercase hexadecimal, made in a fresh instance. Blocks: about ten
    /// microseconds, and five more for each KiB of body.
    pub fn make(&self, algorithm: Algorithm, secret: &[u8], body: &[u8]) -> Result<String, Fault> {
        self.call(|store, instance| {
            let authenticator = self.tokens.load(&mut *store, instance)?;
            authenticator.call_make(store, algorithm.into(), secret, body)
        })
    }

    /// Whether `token` belongs to `body` under one of `secrets`.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        secrets: &[&[u8]],
        body: &[u8],
        token: &str,
    ) -> Result<bool, Fault> {
        let secrets: Vec<_> = secrets.iter().map(|secret| secret.to_vec()).collect();
        let secrets = zeroize::Zeroizing::new(secrets);
        self.call(|store, instance| {
            let authenticator = self.tokens.load(&mut *store, instance)?;
            authenticator.call_verify(store, algorithm.into(), &secrets, body, token)
        })
    }

    /// What the component says of itself.
    pub fn describe(&self) -> Result<Description, Fault> {
        let description = self.call(|store, instance| {
            let about = self.about.load(&mut *store, instance)?;
            about.call_describe(store)
        })?;
        Ok(Description {
            name: description.name,
            version: description.version,
            summary: description.summary,
        })
    }

    /// Runs the component's own known answers. The inner error is what it reports.
    pub fn self_test(&self) -> Result<Result<(), String>, Fault> {
        self.call(|store, instance| {
            let about = self.about.load(&mut *store, instance)?;
            about.call_self_test(store)
        })
    }

    fn call<R>(
        &self,
        call: impl FnOnce(&mut wasmtime::Store<State>, &Instance) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        let budget = Budget {
            limits: self.limits,
            kdf: KdfLimits::NONE,
            interrupt: Interrupt::default(),
        };
        instance::run(
            &self.sandbox,
            &self.metrics,
            budget,
            0,
            |store| self.instances.instantiate(store),
            call,
        )
    }
}

impl From<Algorithm> for authenticator::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha1 => Self::Sha1,
            Algorithm::Sha256 => Self::Sha256,
            Algorithm::Sha384 => Self::Sha384,
            Algorithm::Sha512 => Self::Sha512,
        }
    }
}
