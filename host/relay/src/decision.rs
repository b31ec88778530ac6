//! What follows from an answer of the upstream: pure.

use crate::environment::CallResult;
use bulkhead_sandbox::{Checking, Delivering, Signing, Wait};
use bulkhead_store::{NotificationOutcome, Outcome, SlotEnd};

/// What the upstream does to us, whatever the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamHealth {
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
pub(crate) struct Decision<T> {
    pub(crate) outcome: T,
    /// No call for so long.
    pub(crate) hold_ms: Option<u64>,
    pub(crate) upstream: UpstreamHealth,
}

/// The longest that a component may have anything wait: whatever it says may be a mistake of its own.
const WAIT_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// The same for webhooks, which our own component sends daily in the end, give or take a tenth.
const WEBHOOK_WAIT_MAX_MS: u64 = 2 * WAIT_MAX_MS;

/// What is shown of why, and in one line.
const WHY_CHARACTERS_MAX: usize = 300;

fn bounded(mut wait: Wait) -> Wait {
    wait.after_ms = wait.after_ms.min(WAIT_MAX_MS);
    wait.why = shown(&wait.why);
    wait
}

fn shown(why: &str) -> String {
    let blank = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    why.chars().take(WHY_CHARACTERS_MAX).map(blank).collect()
}

/// A try of a notification.
pub(crate) fn of_delivering(
    delivering: Delivering,
    known_better: Option<String>,
) -> NotificationOutcome {
    let because = |why: &str| known_better.unwrap_or_else(|| shown(why));
    match delivering {
        Delivering::Delivered => NotificationOutcome::Delivered,
        Delivering::Again(wait) => NotificationOutcome::Again {
            after_ms: wait.after_ms.min(WEBHOOK_WAIT_MAX_MS),
            why: because(&wait.why),
        },
        Delivering::Parked(why) => NotificationOutcome::Parked { why: because(&why) },
    }
}

/// An attempt to have a message signed.
pub(crate) fn of_signing(signing: Signing, known_better: Option<String>) -> Decision<Outcome> {
    let because = |why: String| known_better.unwrap_or(why);
    let (outcome, hold_ms, upstream) = match signing {
        Signing::Signed(signature) => (Outcome::Signed(signature), None, UpstreamHealth::Fine),
        Signing::Refused(error) => (Outcome::Failed(shown(&error)), None, UpstreamHealth::Fine),
        Signing::Again(wait) => {
            let Wait { after_ms, why } = bounded(wait);
            let upstream = UpstreamHealth::Failing(because(why));
            (Outcome::Again { after_ms }, None, upstream)
        }
        Signing::Paused(wait) => {
            let Wait { after_ms, why } = bounded(wait);
            let upstream = UpstreamHealth::Refusing(why);
            (Outcome::Again { after_ms }, Some(after_ms), upstream)
        }
        Signing::Slowed(wait) => {
            let Wait { after_ms, why } = bounded(wait);
            let upstream = UpstreamHealth::Slowing(why);
            (Outcome::Again { after_ms }, Some(after_ms), upstream)
        }
    };
    Decision {
        outcome,
        hold_ms,
        upstream,
    }
}

/// A verification or a check of the key: the answer, if there is one.
pub(crate) fn of_checking(
    checking: Checking,
    known_better: Option<String>,
) -> Decision<Option<bool>> {
    let because = |why: String| known_better.unwrap_or(why);
    let (outcome, hold_ms, upstream) = match checking {
        Checking::Known(answer) => (Some(answer), None, UpstreamHealth::Fine),
        Checking::Unknown(wait) => (
            None,
            None,
            UpstreamHealth::Failing(because(bounded(wait).why)),
        ),
        Checking::Paused(wait) => {
            let Wait { after_ms, why } = bounded(wait);
            (None, Some(after_ms), UpstreamHealth::Refusing(why))
        }
        Checking::Slowed(wait) => {
            let Wait { after_ms, why } = bounded(wait);
            (None, Some(after_ms), UpstreamHealth::Slowing(why))
        }
    };
    Decision {
        outcome,
        hold_ms,
        upstream,
    }
}

/// Whether the call is known to be over. One that was never sent never arrives; one without a whole
/// answer may still sit in a buffer.
pub(crate) fn slot_end(result: &CallResult) -> SlotEnd {
    match result {
        CallResult::Answer(_) | CallResult::Unsent(_) => SlotEnd::Settled,
        CallResult::Lost(_) => SlotEnd::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit mistaken, or a difference below zero: no call for millions of years, over restarts.
    #[test]
    fn no_component_holds_calls_for_more_than_a_day() {
        let wait = || Wait {
            after_ms: u64::MAX,
            why: "over\nand over ".repeat(100),
        };
        for signing in [
            Signing::Again(wait()),
            Signing::Paused(wait()),
            Signing::Slowed(wait()),
        ] {
            let decision = of_signing(signing, None);
            let after_ms = WAIT_MAX_MS;
            assert_eq!(decision.outcome, Outcome::Again { after_ms });
            assert!(decision.hold_ms.is_none_or(|hold| hold == WAIT_MAX_MS));
            let (UpstreamHealth::Failing(why)
            | UpstreamHealth::Refusing(why)
            | UpstreamHealth::Slowing(why)) = decision.upstream
            else {
                panic!("a upstream with a reason");
            };
            assert!(
                why.len() == WHY_CHARACTERS_MAX && !why.contains('\n'),
                "{why}"
            );
        }
        let NotificationOutcome::Again { after_ms, why } =
            of_delivering(Delivering::Again(wait()), None)
        else {
            panic!("again");
        };
        assert_eq!(after_ms, WEBHOOK_WAIT_MAX_MS);
        assert!(why.len() == WHY_CHARACTERS_MAX && !why.contains('\n'));
        let held = of_checking(Checking::Paused(wait()), None).hold_ms;
        assert_eq!(held, Some(WAIT_MAX_MS));
    }
}
