//! Why a component is not admitted.

use crate::codegen::EngineError;
use crate::fault::Fault;

/// Why a component is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// For programs.
    pub kind: RefusalKind,
    /// For people: one line that says what to change.
    pub reason: String,
}

impl Refusal {
    /// With a reason, which may quote what came from a file: it is shown in one line of bounded length.
    pub fn new(kind: RefusalKind, reason: impl AsRef<str>) -> Self {
        const CHARACTERS_MAX: usize = 2000;
        Self {
            kind,
            reason: one_line(reason.as_ref(), CHARACTERS_MAX),
        }
    }

    /// For a component that does not even describe itself.
    pub fn silent(fault: &Fault) -> Self {
        let kind = RefusalKind::Description;
        Self::new(kind, format!("it does not describe itself: {fault}"))
    }

    pub(crate) fn compile(error: &EngineError) -> Self {
        Self::new(
            RefusalKind::Invalid,
            format!("it does not compile: {error}"),
        )
    }

    pub(crate) fn link(error: &wasmtime::Error) -> Self {
        Self::new(
            RefusalKind::Link,
            format!("it does not fit its contract: {error:#}"),
        )
    }
}

/// The kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// No component at all: text, a core module, something else.
    NotAComponent,
    /// It breaks off, or does not hold together.
    Invalid,
    /// It needs more than an instance can have here.
    TooDemanding,
    /// It imports what it may not.
    Import,
    /// It does not export what its world does.
    World,
    /// It exports that in an incompatible version.
    Version,
    /// Names fit and types do not.
    Link,
    /// What it says of itself cannot be shown.
    Description,
    /// Its own test of itself fails.
    SelfTest,
    /// It gives wrong answers to what the host knows.
    KnownAnswers,
}

impl RefusalKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NotAComponent,
        Self::Invalid,
        Self::TooDemanding,
        Self::Import,
        Self::World,
        Self::Version,
        Self::Link,
        Self::Description,
        Self::SelfTest,
        Self::KnownAnswers,
    ];

    /// The name in documents and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotAComponent => "not_a_component",
            Self::Invalid => "invalid",
            Self::TooDemanding => "too_demanding",
            Self::Import => "import",
            Self::World => "world",
            Self::Version => "version",
            Self::Link => "link",
            Self::Description => "description",
            Self::SelfTest => "self_test",
            Self::KnownAnswers => "known_answers",
        }
    }
}

/// The text of an error and of all its causes, for the log.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// A text of a component.
pub(crate) fn quoted_line(text: &str) -> String {
    const CHARACTERS_MAX: usize = 300;
    one_line(text, CHARACTERS_MAX)
}

fn one_line(text: &str, characters_max: usize) -> String {
    let line = text.chars().take(characters_max);
    line.map(
        |character| {
            if is_unseen(character) { ' ' } else { character }
        },
    )
    .collect()
}

/// Whether a character moves others about instead of being seen: controls, and marks of direction
/// (Unicode's `Bidi_Control`).
pub(crate) fn is_unseen(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || turns
}
