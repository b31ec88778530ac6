//! Sizes and durations with a unit.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

const LONGEST: Duration = Duration::from_hours(24);

/// A parser of sizes from `least` to `most` octets.
pub(super) fn octets_within(
    least: usize,
    most: usize,
) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let octets = bulkhead_envelope::parse_size(text).map_err(|error| error.to_string())?;
        usize::try_from(octets)
            .ok()
            .filter(|octets| (least..=most).contains(octets))
            .ok_or_else(|| format!("give at least {} and at most {}", shown(least), shown(most)))
    }
}

/// A size in the largest unit that it is whole in.
fn shown(octets: usize) -> String {
    let units = [
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
        (1, "B"),
    ];
    let (size, unit) = units
        .into_iter()
        .find(|(size, _)| octets != 0 && octets.is_multiple_of(*size))
        .unwrap_or((1, "B"));
    format!("{}{unit}", octets / size)
}

/// A parser of whole numbers from `least` to `most`.
pub(super) fn number_within<N>(least: N, most: N) -> impl Fn(&str) -> Result<N, String> + Clone
where
    N: FromStr + PartialOrd + Display + Copy + Send + Sync + 'static,
{
    move |text| {
        let number = text.trim().parse().ok();
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("give a whole number from {least} to {most}"))
    }
}

/// `500ms`, `30s`, `5m`, `1h`. A bare number is refused: nobody can tell what it means.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    time(text)?
        .filter(|time| *time <= LONGEST)
        .ok_or_else(|| "give a whole number and a unit, as in 30s, of at most 24h".into())
}

/// A parser of durations from `least` to `most`; days (`90d`) are known too.
pub(super) fn duration_within(
    least: Duration,
    most: Duration,
) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| {
        time(text)?
            .filter(|time| (least..=most).contains(time))
            .ok_or_else(|| {
                let shown = humantime::format_duration;
                format!("give at least {} and at most {}", shown(least), shown(most))
            })
    }
}

/// None where the number is none, or too large.
fn time(text: &str) -> Result<Option<Duration>, String> {
    let (number, unit) = split(text);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("give a time with a unit: ms, s, m, h or d, as in 30s".into()),
    };
    let number = number.parse::<u64>().ok();
    Ok(number
        .and_then(|number| number.checked_mul(unit_ms))
        .map(Duration::from_millis))
}

fn split(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (number, unit.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_bounds() {
        let parse = octets_within(1 << 10, 1 << 20);
        assert_eq!(parse("1KiB"), Ok(1 << 10));
        assert_eq!(parse("1MiB"), Ok(1 << 20));
        for wrong in ["1023B", "1048577B", "x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        let parse = number_within(1_u16, 512);
        assert_eq!(parse("512"), Ok(512));
        for wrong in ["0", "513", "-1", "x", "", "99999999999"] {
            let error = parse(wrong).expect_err("refused");
            assert_eq!(error, "give a whole number from 1 to 512", "{wrong}");
        }
    }

    #[test]
    fn sizes_are_shown_as_they_are_written() {
        for text in ["0B", "1023B", "64KiB", "5MiB", "1024GiB"] {
            let octets = bulkhead_envelope::parse_size(text).expect("a size");
            assert_eq!(shown(usize::try_from(octets).expect("64 bits")), text);
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for wrong in ["", "s", "30", "1.5s", "-1s", "2d", "25h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        let within = duration_within(Duration::from_hours(1), Duration::from_hours(48));
        assert_eq!(within("2d"), Ok(Duration::from_hours(48)));
        for wrong in ["59m", "3d", "x", "18446744073709551615d"] {
            assert!(within(wrong).is_err(), "{wrong}");
        }
    }
}
