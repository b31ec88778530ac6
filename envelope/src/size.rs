//! Sizes with a unit, as operators write them.

use std::fmt;
use std::str::FromStr;

/// The text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSize {
    /// The text does not end with a known unit.
    #[error("give a number of bytes or a size with a unit: B, KiB, MiB or GiB, as in 32MiB")]
    Unit,
    /// The text does not begin with a whole number, or the size does not fit into 64 bits.
    #[error("give a whole number and a unit, as in 32MiB")]
    Number,
}

/// Parses a size such as `32MiB`, `512 KiB` or `100B` and returns it in bytes. A number without a unit is in bytes.
///
/// # Errors
/// [`InvalidSize`], whose text says how to write a size.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(InvalidSize::Unit),
    };
    let number: u64 = number.parse().map_err(|_| InvalidSize::Number)?;
    number.checked_mul(factor).ok_or(InvalidSize::Number)
}

/// A number of bytes. It is parsed and displayed with a unit, such as `32MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// Creates a size of `bytes` bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Returns the number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Returns the number of bytes, or the maximum of `usize` if there are more.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        parse_size(text).map(Self)
    }
}

/// Displays the size as a whole number of the largest possible unit.
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
    fn byte_size_is_displayed_in_its_largest_whole_unit() {
        for text in ["0B", "1023B", "64KiB", "5MiB", "1024GiB"] {
            let size: ByteSize = text.parse().expect("size should be valid");
            assert_eq!(size.to_string(), text);
        }
    }

    #[test]
    fn sizes_are_parsed_with_and_without_a_unit() {
        assert_eq!(parse_size("100"), Ok(100));
        assert_eq!(parse_size("100B"), Ok(100));
        assert_eq!(parse_size("32MiB"), Ok(32 << 20));
        assert_eq!(parse_size("2 GiB"), Ok(2 << 30));
        for text in ["MiB", "", "99999999999GiB"] {
            assert_eq!(parse_size(text), Err(InvalidSize::Number), "{text}");
        }
        for text in ["1.5MiB", "-1", "1MB"] {
            assert_eq!(parse_size(text), Err(InvalidSize::Unit), "{text}");
        }
    }
}
