//! The common trait of components, and the checks that a component passes before it is used.

use crate::World;
use crate::about::Description;
use crate::engine::Sandbox;
use crate::fault::Fault;
use crate::instance::InstanceLimits;
use crate::linked::Linked;
use crate::load::Loaded;
use crate::metrics::ComponentMetrics;
use crate::rejection::{Rejection, RejectionKind, quoted_line, with_causes};
use bulkhead_crypto::KdfLimits;

/// A component that is linked and can be called. There is one type for each world. Each call runs in a
/// fresh instance and blocks until the instance ends.
pub trait GuestComponent: Sized + Send + Sync + 'static {
    /// The world of these components.
    const WORLD: World;

    /// The limits on key derivation in the self-test.
    const SELF_TEST_KDF: KdfLimits = KdfLimits::ZERO;

    /// Links a component.
    ///
    /// # Errors
    /// [`Rejection`] if the component imports an interface that its world does not allow, or does not export
    /// one that its world requires. The reason names the interface.
    fn new(
        sandbox: &Sandbox,
        loaded: &Loaded,
        limits: InstanceLimits,
        metrics: ComponentMetrics,
    ) -> Result<Self, Rejection> {
        let contract = Self::WORLD.contract();
        Self::from_linked(Linked::new(&contract, sandbox, loaded, limits, metrics)?)
    }

    #[doc(hidden)]
    fn from_linked(linked: Linked) -> Result<Self, Rejection>;

    #[doc(hidden)]
    fn linked(&self) -> &Linked;

    /// Calls functions of the component whose results the host knows. The self-test alone proves little,
    /// because the component itself decides how it ends.
    ///
    /// # Errors
    /// [`KnownAnswerError`] if a result is wrong or missing. The error names it.
    fn known_answers(&self) -> Result<(), KnownAnswerError>;

    /// Returns the component's description. Its texts are not checked.
    ///
    /// # Errors
    /// [`Fault`] if the instance ends without a result.
    fn describe(&self) -> Result<Description, Fault> {
        self.linked().describe()
    }

    /// Runs the component's self-test.
    ///
    /// # Errors
    /// [`SelfTestError`] if the component reports a failure, or if the instance ends without a result.
    fn self_test(&self) -> Result<(), SelfTestError> {
        Ok(self.linked().self_test(Self::SELF_TEST_KDF)??)
    }
}

/// Runs all checks that a component must pass before it is used, and returns its description.
///
/// # Errors
/// [`Rejection`] with the first check that the component does not pass.
pub fn verify(component: &impl GuestComponent) -> Result<Description, Rejection> {
    let description = component
        .describe()
        .map_err(|fault| Rejection::silent(&fault))?;
    description.check()?;
    component.self_test()?;
    component.known_answers()?;
    Ok(description)
}

/// The self-test of a component failed.
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

/// A result differs from the one that the host knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KnownAnswerError {
    /// The instance ended without a result.
    #[error("an instance ends without a result")]
    Fault(#[from] Fault),
    /// The result is wrong. The text says which one.
    #[error("{0}")]
    Wrong(String),
}

impl From<SelfTestError> for Rejection {
    fn from(error: SelfTestError) -> Self {
        Self::new(RejectionKind::SelfTest, quoted_line(&with_causes(&error)))
    }
}

impl From<KnownAnswerError> for Rejection {
    fn from(error: KnownAnswerError) -> Self {
        let reason = quoted_line(&with_causes(&error));
        Self::new(
            RejectionKind::KnownAnswers,
            format!("it fails a test with a known answer: {reason}"),
        )
    }
}
