//! Sizes with a unit, as operators write them.

use std::fmt;
use std::str::FromStr;

/// `32MiB`, `512 KiB`, `100B`; a bare number is octets.
///
/// # Errors
/// If it is not a size. The error says how to write one.
pub fn octets(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 =
        match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(
                "give a number of octets or a size with a unit: B, KiB, MiB or GiB, as in 32MiB"
                    .into(),
            ),
        };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| "give a whole number and a unit, as in 32MiB".into())
}

/// A number of bytes, written and shown with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes, or the maximum of `usize` if there are more.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        octets(text).map(Self)
    }
}

/// In the largest unit that it is a whole number of.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let (size, unit) = units
            .into_iter()
            .find(|(size, _)| self.0 != 0 && self.0.is_multiple_of(*size))
            .unwrap_or((1, "B"));
        write!(f, "{}{unit}", self.0 / size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_size_is_shown_as_it_is_written() {
        for text in ["0B", "1023B", "64KiB", "5MiB", "1024GiB"] {
            let size: ByteSize = text.parse().expect("a size");
            assert_eq!(size.to_string(), text);
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(octets("100"), Ok(100));
        assert_eq!(octets("100B"), Ok(100));
        assert_eq!(octets("32MiB"), Ok(32 << 20));
        assert_eq!(octets("2 GiB"), Ok(2 << 30));
        for wrong in ["", "MiB", "1.5MiB", "-1", "1MB", "99999999999GiB"] {
            assert!(octets(wrong).is_err(), "{wrong}");
        }
    }
}
