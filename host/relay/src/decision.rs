//! Decisions after a call: pure functions, without effects.

use crate::environment::CallResult;
use bulkhead_sandbox::{Checking, Delivering, Signing, Wait};
use bulkhead_store::{NotificationOutcome, Outcome, SlotEnd};

/// The state of the upstream, independent of single messages. The texts are the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamHealth {
    /// The upstream responds as expected, or rejects only the message.
    Fine,
    /// The upstream does not respond, or its response is not usable.
    Failing(String),
    /// The upstream rejects the API key or the relay's address. Calls pause, and single calls probe.
    Rejecting(String),
    /// The upstream reports too many calls. Calls pause.
    Throttling(String),
}

/// The consequences of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision<T> {
    pub(crate) outcome: T,
    /// Milliseconds during which no call is made.
    pub(crate) hold_ms: Option<u64>,
    pub(crate) upstream: UpstreamHealth,
}

/// Maximum delay that a component can demand. The limit protects against faults in components.
const WAIT_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// Maximum delay between attempts to deliver a webhook. It exceeds a day, because the longest delay
/// of the built-in component is a day and a jitter of a tenth.
const WEBHOOK_WAIT_MAX_MS: u64 = 2 * WAIT_MAX_MS;

/// Maximum number of characters of a reason.
const WHY_CHARACTERS_MAX: usize = 300;

/// Limits the delay and the reason.
fn bounded(mut wait: Wait) -> Wait {
    wait.after_ms = wait.after_ms.min(WAIT_MAX_MS);
    wait.reason = shown(&wait.reason);
    wait
}

/// Returns a reason for display: shortened, and on one line.
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

/// Decides after an attempt to deliver a notification.
pub(crate) fn of_delivering(
    delivering: Delivering,
    precise_reason: Option<String>,
) -> NotificationOutcome {
    let because = |why: &str| precise_reason.unwrap_or_else(|| shown(why));
    match delivering {
        Delivering::Delivered => NotificationOutcome::Delivered,
        Delivering::Retry(wait) => NotificationOutcome::Retry {
            after_ms: wait.after_ms.min(WEBHOOK_WAIT_MAX_MS),
            why: because(&wait.reason),
        },
        Delivering::Parked(why) => NotificationOutcome::Parked { why: because(&why) },
    }
}

/// Decides after an attempt to have a message signed.
pub(crate) fn of_signing(signing: Signing, precise_reason: Option<String>) -> Decision<Outcome> {
    let because = |why: String| precise_reason.unwrap_or(why);
    let (outcome, hold_ms, upstream) = match signing {
        Signing::Signed(signature) => (Outcome::Signed(signature), None, UpstreamHealth::Fine),
        Signing::Rejected(error) => (Outcome::Failed(shown(&error)), None, UpstreamHealth::Fine),
        Signing::Retry(wait) => {
            let Wait { after_ms, reason } = bounded(wait);
            let upstream = UpstreamHealth::Failing(because(reason));
            (Outcome::Retry { after_ms }, None, upstream)
        }
        Signing::Paused(wait) => {
            let Wait { after_ms, reason } = bounded(wait);
            let upstream = UpstreamHealth::Rejecting(reason);
            (Outcome::Retry { after_ms }, Some(after_ms), upstream)
        }
        Signing::Slowed(wait) => {
            let Wait { after_ms, reason } = bounded(wait);
            let upstream = UpstreamHealth::Throttling(reason);
            (Outcome::Retry { after_ms }, Some(after_ms), upstream)
        }
    };
    Decision {
        outcome,
        hold_ms,
        upstream,
    }
}

/// Decides after a verification or a key check. The outcome is `None` if the upstream gave no result.
pub(crate) fn of_checking(
    checking: Checking,
    precise_reason: Option<String>,
) -> Decision<Option<bool>> {
    let because = |why: String| precise_reason.unwrap_or(why);
    let (outcome, hold_ms, upstream) = match checking {
        Checking::Known(known) => (Some(known), None, UpstreamHealth::Fine),
        Checking::Unknown(wait) => (
            None,
            None,
            UpstreamHealth::Failing(because(bounded(wait).reason)),
        ),
        Checking::Paused(wait) => {
            let Wait { after_ms, reason } = bounded(wait);
            (None, Some(after_ms), UpstreamHealth::Rejecting(reason))
        }
        Checking::Slowed(wait) => {
            let Wait { after_ms, reason } = bounded(wait);
            (None, Some(after_ms), UpstreamHealth::Throttling(reason))
        }
    };
    Decision {
        outcome,
        hold_ms,
        upstream,
    }
}

/// Returns whether the call is known to be over. A call that was not sent never arrives. A call without a
/// complete response may still be in a buffer of the network.
pub(crate) fn slot_end(result: &CallResult) -> SlotEnd {
    match result {
        CallResult::Response(_) | CallResult::Unsent(_) => SlotEnd::Settled,
        CallResult::Lost(_) | CallResult::Malformed(_) => SlotEnd::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component may confuse units or compute a negative difference. Without a limit, calls would stop
    /// forever, even after restarts.
    #[test]
    fn component_cannot_hold_calls_for_more_than_a_day() {
        let wait = || Wait {
            after_ms: u64::MAX,
            reason: "over\nand over ".repeat(100),
        };
        for signing in [
            Signing::Retry(wait()),
            Signing::Paused(wait()),
            Signing::Slowed(wait()),
        ] {
            let decision = of_signing(signing, None);
            let after_ms = WAIT_MAX_MS;
            assert_eq!(decision.outcome, Outcome::Retry { after_ms });
            assert!(decision.hold_ms.is_none_or(|hold| hold == WAIT_MAX_MS));
            let (UpstreamHealth::Failing(why)
            | UpstreamHealth::Rejecting(why)
            | UpstreamHealth::Throttling(why)) = decision.upstream
            else {
                panic!("upstream should have a reason");
            };
            assert!(
                why.len() == WHY_CHARACTERS_MAX && !why.contains('\n'),
                "{why}"
            );
        }
        let NotificationOutcome::Retry { after_ms, why } =
            of_delivering(Delivering::Retry(wait()), None)
        else {
            panic!("notification should be attempted again");
        };
        assert_eq!(after_ms, WEBHOOK_WAIT_MAX_MS);
        assert!(why.len() == WHY_CHARACTERS_MAX && !why.contains('\n'));
        let held = of_checking(Checking::Paused(wait()), None).hold_ms;
        assert_eq!(held, Some(WAIT_MAX_MS));
    }
}
