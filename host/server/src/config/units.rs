//! Parsers of sizes, numbers and durations with bounds.

use bulkhead_http::{ByteSize, InvalidSize};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const TIB: u64 = 1 << 40;

const DURATION_MAX: Duration = Duration::from_hours(24);

/// A value is malformed or out of bounds. The text follows the name of the setting and says what to write.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum ValueError {
    #[error("{0}")]
    Size(#[from] InvalidSize),
    #[error("give at least {min} and at most {max}")]
    OutOfBounds { min: String, max: String },
    #[error("give a whole number from {min} to {max}")]
    Number { min: String, max: String },
    #[error("give a time with a unit: ms, s, m, h or d, as in 30s")]
    Unit,
    #[error("give a whole number and a unit, as in 30s, of at most 24h")]
    Duration,
    #[error("give a time above zero")]
    Zero,
}

/// Returns a parser of sizes from `min` to `max` bytes.
pub(crate) fn sizes(
    min: u64,
    max: u64,
) -> impl Fn(&str) -> Result<ByteSize, ValueError> + Clone + Send + Sync + 'static {
    move |text| {
        let size: ByteSize = text.parse().map_err(ValueError::Size)?;
        let (min, max) = (ByteSize::new(min), ByteSize::new(max));
        within(size, min, max, ToString::to_string)
    }
}

/// Returns a parser of whole numbers from `min` to `max`.
pub(crate) fn numbers<N>(
    min: N,
    max: N,
) -> impl Fn(&str) -> Result<N, ValueError> + Clone + Send + Sync + 'static
where
    N: FromStr + PartialOrd + Display + Copy + Send + Sync + 'static,
{
    move |text| {
        let number = text.trim().parse().ok();
        number
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| ValueError::Number {
                min: min.to_string(),
                max: max.to_string(),
            })
    }
}

/// Returns a parser of durations from `min` to `max`.
pub(crate) fn durations(
    min: Duration,
    max: Duration,
) -> impl Fn(&str) -> Result<Duration, ValueError> + Clone + Send + Sync + 'static {
    move |text| {
        let time = time(text)?.unwrap_or(Duration::MAX);
        within(time, min, max, |time| {
            humantime::format_duration(*time).to_string()
        })
    }
}

/// Parses a duration of at most 24 hours, such as `500ms`, `30s`, `5m` or `1h`. A number without a unit is
/// rejected, because its unit would be a guess.
///
/// # Errors
/// [`ValueError`] if the text is malformed or the duration is too long.
pub(crate) fn duration(text: &str) -> Result<Duration, ValueError> {
    time(text)?
        .filter(|time| *time <= DURATION_MAX)
        .ok_or(ValueError::Duration)
}

/// Parses a duration like [`duration`], and rejects zero: every call would exceed a time-out of zero.
///
/// # Errors
/// [`ValueError`] if the text is malformed, or the duration is zero or too long.
pub(crate) fn duration_above_zero(text: &str) -> Result<Duration, ValueError> {
    match duration(text)? {
        Duration::ZERO => Err(ValueError::Zero),
        time => Ok(time),
    }
}

/// Returns the number of processors that the process may use, and at most `max`.
pub(crate) fn processors(max: u16) -> u16 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(processors).unwrap_or(max).min(max)
}

/// Returns a duration in milliseconds, or the maximum of `u32` (50 days) if it is longer.
pub(crate) fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn within<T: PartialOrd + Copy>(
    value: T,
    min: T,
    max: T,
    shown: impl Fn(&T) -> String,
) -> Result<T, ValueError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(ValueError::OutOfBounds {
            min: shown(&min),
            max: shown(&max),
        })
    }
}

/// Parses a number and a unit. Returns `None` if the number is malformed or too large.
fn time(text: &str) -> Result<Option<Duration>, ValueError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(ValueError::Unit),
    };
    let number = number.parse::<u64>().ok();
    Ok(number
        .and_then(|number| number.checked_mul(unit_ms))
        .map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_out_of_bounds_is_rejected() {
        let parse = sizes(1 << 10, 1 << 20);
        assert_eq!(parse("1KiB"), Ok(ByteSize::new(1 << 10)));
        assert_eq!(parse("1MiB"), Ok(ByteSize::new(1 << 20)));
        for wrong in ["1023B", "1048577B", "x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn number_out_of_bounds_is_rejected() {
        let parse = numbers(1_u16, 512);
        assert_eq!(parse("512"), Ok(512));
        for wrong in ["0", "513", "-1", "x", "", "99999999999"] {
            let error = parse(wrong)
                .expect_err("the number should be rejected")
                .to_string();
            assert_eq!(error, "give a whole number from 1 to 512", "{wrong}");
        }
    }

    #[test]
    fn duration_without_unit_or_out_of_bounds_is_rejected() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for wrong in ["", "s", "30", "1.5s", "-1s", "2d", "25h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        let within = durations(Duration::from_hours(1), Duration::from_hours(48));
        assert_eq!(within("2d"), Ok(Duration::from_hours(48)));
        for wrong in ["59m", "3d", "x", "18446744073709551615d"] {
            assert!(within(wrong).is_err(), "{wrong}");
        }
    }
}
