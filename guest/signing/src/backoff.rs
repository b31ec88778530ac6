//! Delays before the next attempt.

use crate::bindings::exports::bulkhead::signing::exchange::Situation;
use std::time::{Duration, SystemTime};

pub(crate) const SECOND_MS: u64 = 1000;
pub(crate) const MINUTE_MS: u64 = 60 * SECOND_MS;
pub(crate) const HOUR_MS: u64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;

/// Maximum delay that a `Retry-After` header can cause, so that no peer can hold a message back for ever.
const RETRY_AFTER_MS_MAX: u64 = HOUR_MS;

/// The jitter is up to one tenth of a delay, so that attempts that failed together are not repeated together.
const JITTER_DIVISOR: u64 = 10;

/// Returns `wait_ms` plus a jitter of at most one tenth.
pub(crate) fn with_jitter(wait_ms: u64, situation: &Situation) -> u64 {
    wait_ms + situation.random % (wait_ms / JITTER_DIVISOR + 1)
}

/// Returns the delay in milliseconds that a `Retry-After` header requests, as seconds or a date (RFC 9110 section 10.2.3).
/// Returns `None` for any other value, and 0 for a date in the past.
pub(crate) fn retry_after_ms(value: Option<&str>, now_ms: u64) -> Option<u64> {
    let value = value?.trim();
    let ms = if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        // A number that does not fit exceeds the maximum.
        let seconds: u64 = value.parse().unwrap_or(u64::MAX);
        seconds.saturating_mul(SECOND_MS)
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        let now = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(now_ms))?;
        let wait = date.duration_since(now).unwrap_or_default();
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
    };
    Some(ms.min(RETRY_AFTER_MS_MAX))
}

#[cfg(test)]
pub(crate) fn situation(attempts: u32, age_ms: u64) -> Situation {
    Situation {
        attempts,
        age_ms,
        // One minute before the example date in RFC 9110 section 5.6.7.
        now_ms: 784_111_777 * SECOND_MS - MINUTE_MS,
        random: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_accepts_seconds_and_dates() {
        let now_ms = situation(1, 0).now_ms;
        for (value, expected) in [
            ("0", Some(0)),
            ("120", Some(120_000)),
            (" 7 ", Some(7000)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60_000)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(60_000)),
            ("Sun, 06 Nov 1994 08:40:00 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(HOUR_MS)),
            ("99999999999999999999999", Some(HOUR_MS)),
            ("18446744073709551615", Some(HOUR_MS)),
            ("", None),
            ("-1", None),
            ("soon", None),
            ("1.5", None),
        ] {
            assert_eq!(retry_after_ms(Some(value), now_ms), expected, "{value:?}");
        }
        assert_eq!(retry_after_ms(None, now_ms), None);
    }

    #[test]
    fn jitter_is_at_most_one_tenth() {
        for random in [0, 1, 99, 100, 101, u64::MAX] {
            let situation = Situation {
                random,
                ..situation(1, 0)
            };
            assert!((1000..=1100).contains(&with_jitter(1000, &situation)));
            assert_eq!(with_jitter(0, &situation), 0);
        }
    }
}
