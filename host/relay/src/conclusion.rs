//! What follows from an answer of the upstream: pure.

use crate::world::Heard;
use bulkhead_sandbox::{Checking, Signing};
use bulkhead_store::{Outcome, SlotEnd};

/// What the upstream does to us, whatever the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mood {
    /// It answers as it should, or refuses the message alone.
    Fine,
    /// It does not answer, or not with anything of use; why.
    Failing(String),
    /// It refuses our key or address; why. Calls pause, and probe.
    Refusing(String),
    /// We were too fast; why. Calls pause.
    Slowing(String),
}

/// What a call came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conclusion<T> {
    pub(crate) outcome: T,
    /// No call for so long.
    pub(crate) hold_ms: Option<u64>,
    pub(crate) mood: Mood,
}

/// A try of a message.
pub(crate) fn of_signing(signing: Signing, known_better: Option<String>) -> Conclusion<Outcome> {
    let because = |why: String| known_better.unwrap_or(why);
    match signing {
        Signing::Signed(signature) => Conclusion {
            outcome: Outcome::Signed(signature),
            hold_ms: None,
            mood: Mood::Fine,
        },
        Signing::Refused(error) => Conclusion {
            outcome: Outcome::Failed(error),
            hold_ms: None,
            mood: Mood::Fine,
        },
        Signing::Again(wait) => Conclusion {
            outcome: Outcome::Again {
                after_ms: wait.after_ms,
            },
            hold_ms: None,
            mood: Mood::Failing(because(wait.why)),
        },
        Signing::Paused(wait) => Conclusion {
            outcome: Outcome::Again {
                after_ms: wait.after_ms,
            },
            hold_ms: Some(wait.after_ms),
            mood: Mood::Refusing(wait.why),
        },
        Signing::Slowed(wait) => Conclusion {
            outcome: Outcome::Again {
                after_ms: wait.after_ms,
            },
            hold_ms: Some(wait.after_ms),
            mood: Mood::Slowing(wait.why),
        },
    }
}

/// A verification or a check of the key: the answer, if there is one.
pub(crate) fn of_checking(
    checking: Checking,
    known_better: Option<String>,
) -> Conclusion<Option<bool>> {
    let because = |why: String| known_better.unwrap_or(why);
    let (outcome, hold_ms, mood) = match checking {
        Checking::Known(answer) => (Some(answer), None, Mood::Fine),
        Checking::Unknown(wait) => (None, None, Mood::Failing(because(wait.why))),
        Checking::Paused(wait) => (None, Some(wait.after_ms), Mood::Refusing(wait.why)),
        Checking::Slowed(wait) => (None, Some(wait.after_ms), Mood::Slowing(wait.why)),
    };
    Conclusion {
        outcome,
        hold_ms,
        mood,
    }
}

/// Whether the call is known to be over. One that was never sent never arrives; one without a whole
/// answer may still sit in a buffer.
pub(crate) fn slot_end(heard: &Heard) -> SlotEnd {
    match heard {
        Heard::Answer(_) | Heard::Unsent(_) => SlotEnd::Answered,
        Heard::Lost(_) => SlotEnd::Unknown,
    }
}
