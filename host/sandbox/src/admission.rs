//! What all components have in common, and what they have to pass before they are used.

use crate::about::Description;
use crate::engine::Sandbox;
use crate::fault::Fault;
use crate::instance::InstanceLimits;
use crate::linked::Linked;
use crate::load::Loaded;
use crate::metrics::ComponentMetrics;
use crate::refusal::{Refusal, RefusalKind, quoted_line, with_causes};
use crate::world::World;
use bulkhead_crypto::KdfLimits;

/// A component that is linked and can be called: one type for each world. Each call runs in a fresh instance, and
/// blocks until the instance has ended.
pub trait GuestComponent: Sized + Send + Sync + 'static {
    /// The world of these components.
    const WORLD: World;

    /// What the self-test may spend on key derivation.
    const SELF_TEST_KDF: KdfLimits = KdfLimits::ZERO;

    /// Links a component.
    ///
    /// # Errors
    /// If the component imports what its world does not allow, or does not export what its world requires. The
    /// reason names the interface.
    fn new(
        sandbox: &Sandbox,
        loaded: &Loaded,
        limits: InstanceLimits,
        metrics: ComponentMetrics,
    ) -> Result<Self, Refusal> {
        let contract = Self::WORLD.contract();
        Self::from_linked(Linked::new(&contract, sandbox, loaded, limits, metrics)?)
    }

    #[doc(hidden)]
    fn from_linked(linked: Linked) -> Result<Self, Refusal>;

    #[doc(hidden)]
    fn linked(&self) -> &Linked;

    /// Calls the component for answers that the host knows: a component can satisfy its own test with little.
    ///
    /// # Errors
    /// If an answer is wrong or missing. The error names it.
    fn known_answers(&self) -> Result<(), KnownAnswerError>;

    /// Returns what the component says of itself.
    ///
    /// # Errors
    /// If the instance ends without an answer.
    fn describe(&self) -> Result<Description, Fault> {
        self.linked().describe()
    }

    /// Runs the component's own test of itself.
    ///
    /// # Errors
    /// If the component reports a failure, or if the instance ends without a result.
    fn self_test(&self) -> Result<(), SelfTestError> {
        Ok(self.linked().self_test(Self::SELF_TEST_KDF)??)
    }
}

/// Runs everything that a component has to pass before it is used, and returns its description.
///
/// # Errors
/// The first check that the component does not pass.
pub fn verify(component: &impl GuestComponent) -> Result<Description, Refusal> {
    let description = component
        .describe()
        .map_err(|fault| Refusal::silent(&fault))?;
    description.check()?;
    component.self_test()?;
    component.known_answers()?;
    Ok(description)
}

/// Why a component's test of itself does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelfTestError {
    /// The instance ended without a result.
    #[error("its self-test ends without a result")]
    Fault(#[from] Fault),
    /// The component reports this failure.
    #[error("its self-test fails: {0}")]
    Failed(String),
}

impl From<String> for SelfTestError {
    fn from(reported: String) -> Self {
        Self::Failed(reported)
    }
}

/// Why an answer is not the one that the host knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KnownAnswerError {
    /// The instance ended without an answer.
    #[error("an instance ends without an answer")]
    Fault(#[from] Fault),
    /// The answer is wrong. The text says what it should have been.
    #[error("{0}")]
    Wrong(String),
}

impl From<SelfTestError> for Refusal {
    fn from(error: SelfTestError) -> Self {
        Self::new(RefusalKind::SelfTest, quoted_line(&with_causes(&error)))
    }
}

impl From<KnownAnswerError> for Refusal {
    fn from(error: KnownAnswerError) -> Self {
        let reason = quoted_line(&with_causes(&error));
        Self::new(
            RefusalKind::KnownAnswers,
            format!("it does not know what it must: {reason}"),
        )
    }
}
