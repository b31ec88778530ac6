//! What a component has to do before it is used.

use crate::about::Description;
use crate::fault::Fault;
use crate::refusal::{Refusal, RefusalKind, quoted_line};
use crate::world::World;

/// A component that can be asked: one type for each world.
pub trait Ready: Sized + Send + Sync + 'static {
    /// What its components are.
    const WORLD: World;

    /// What the component says of itself.
    fn describe(&self) -> Result<Description, Fault>;

    /// Runs the component's own known answers. The inner error is what it reports.
    fn self_test(&self) -> Result<Result<(), String>, Fault>;

    /// Asks for what the host knows the answers to: a component's own test can be satisfied with
    /// little. The error names the answer that is wrong.
    fn known_answers(&self) -> Result<(), String>;

    /// Everything that a component has to stand before it is asked by anybody else.
    fn prove(&self) -> Result<Description, Refusal> {
        let failed = |kind, what: &str, why: &dyn std::fmt::Display| {
            Refusal::new(kind, format!("{what}: {}", quoted_line(&why.to_string())))
        };
        let description = self.describe().map_err(|fault| Refusal::silent(&fault))?;
        description.check()?;
        self.self_test()
            .map_err(|fault| {
                failed(
                    RefusalKind::SelfTest,
                    "its self-test ends without a result",
                    &fault,
                )
            })?
            .map_err(|why| failed(RefusalKind::SelfTest, "its self-test fails", &why))?;
        self.known_answers().map_err(|why| {
            failed(
                RefusalKind::KnownAnswers,
                "it does not know what it must",
                &why,
            )
        })?;
        Ok(description)
    }
}
