//! Reasons to reject a component.

use crate::codegen::EngineError;
use crate::fault::Fault;

/// The reason why a component is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// The kind, for programs.
    pub kind: RejectionKind,
    /// One line for operators that says what to change.
    pub reason: String,
}

impl Rejection {
    /// Creates a rejection. `reason` may quote a file: it is cut after 2000 characters, and each control
    /// character becomes a space.
    pub fn new(kind: RejectionKind, reason: impl AsRef<str>) -> Self {
        const CHARACTERS_MAX: usize = 2000;
        Self {
            kind,
            reason: one_line(reason.as_ref(), CHARACTERS_MAX),
        }
    }

    /// Creates the rejection of a component whose function `describe` returns no result.
    pub fn silent(fault: &Fault) -> Self {
        let kind = RejectionKind::Description;
        Self::new(kind, format!("it returns no description: {fault}"))
    }

    pub(crate) fn compile(error: &EngineError) -> Self {
        Self::new(
            RejectionKind::Invalid,
            format!("it does not compile: {error}"),
        )
    }

    pub(crate) fn link(error: &wasmtime::Error) -> Self {
        Self::new(
            RejectionKind::Link,
            format!("it does not fit its contract: {error:#}"),
        )
    }
}

/// Defines the kinds of reasons, with their names in `/health`, metrics and documentation.
macro_rules! kinds {
    ($(#[$doc:meta] $kind:ident $code:literal,)+) => {
        /// The kinds of reasons to reject a component.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum RejectionKind {
            $(#[$doc] $kind,)+
        }

        impl RejectionKind {
            /// All kinds.
            pub const ALL: [Self; [$($code),+].len()] = [$(Self::$kind),+];

            /// Returns the name of the kind in `/health`, metrics and documentation.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$kind => $code,)+
                }
            }
        }
    };
}

kinds! {
    /// The file is not a component but, for example, text or a core module.
    NotAComponent "not_a_component",
    /// The component is incomplete or inconsistent.
    Invalid "invalid",
    /// The component needs more than an instance or the compiler may use.
    TooDemanding "too_demanding",
    /// The component imports an interface that its world does not allow.
    Import "import",
    /// The component does not export an interface that its world requires.
    World "world",
    /// The component exports the interface in an incompatible version.
    Version "version",
    /// The names of interfaces match, but their types do not.
    Link "link",
    /// The component has no description, or one that cannot be shown.
    Description "description",
    /// The self-test fails.
    SelfTest "self_test",
    /// A result differs from the one that the host knows.
    KnownAnswers "known_answers",
}

/// Returns the texts of an error and all its causes, joined by colons, for the log.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Returns a text from a component as one line of at most 300 characters.
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

/// Returns whether a character changes how others are displayed: a control character, or a mark of
/// direction (Unicode's `Bidi_Control`).
pub(crate) fn is_unseen(character: char) -> bool {
    let is_direction = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || is_direction
}
