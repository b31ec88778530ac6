//! The list of files that may be activated, in the format of `sha256sum`.

use crate::config::components::ComponentSettings;
use crate::config::files::{self, FileError};
use bulkhead_http::{Setting, setting};
use std::path::Path;
use thiserror::Error;

/// Maximum size of the list, in bytes. A line has about 80 bytes.
const LIST_BYTES_MAX: u64 = 1 << 20;

const LIST: Setting = setting!(ComponentSettings, components_pin);

/// A file does not match the list of pins.
#[derive(Debug, Error)]
pub(crate) enum PinError {
    #[error("its SHA-256 is not in the list of {LIST}; add it if you trust the file")]
    NotListed,
    #[error("the list of {LIST} {0}")]
    Unreadable(#[source] FileError),
    #[error("line {0} of the list of {LIST} does not begin with a SHA-256; correct or remove it")]
    Malformed(usize),
}

/// Checks that the list contains a SHA-256.
pub(crate) fn check(list: &Path, sha256: &[u8; 32]) -> Result<(), PinError> {
    if read(list)?.contains(sha256) {
        Ok(())
    } else {
        Err(PinError::NotListed)
    }
}

/// Returns all SHA-256 in the list.
pub(crate) fn read(list: &Path) -> Result<Vec<[u8; 32]>, PinError> {
    let text = files::read_text(list, LIST_BYTES_MAX).map_err(PinError::Unreadable)?;
    sums(&text)
}

/// Returns the hexadecimal SHA-256 at the beginning of each line. The rest of a line is ignored, and so are
/// empty lines and lines that begin with `#`.
fn sums(text: &str) -> Result<Vec<[u8; 32]>, PinError> {
    let lines = text.lines().zip(1..);
    lines
        .filter_map(|(line, number)| Some((line.split_whitespace().next()?, number)))
        .filter(|(word, _)| !word.starts_with('#'))
        .map(|(word, number)| {
            let mut sum = [0; 32];
            // sha256sum begins a line with a backslash if the file's name contains one.
            match base16ct::mixed::decode(word.trim_start_matches('\\'), &mut sum) {
                Ok(bytes) if bytes.len() == 32 => Ok(sum),
                _ => Err(PinError::Malformed(number)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_has_the_format_of_sha256sum() {
        let a = "aa".repeat(32);
        let b = "BB".repeat(32);
        let text = format!("# ours\n\n{a}  token.wasm\n  \\{b} *with a \\\\.wasm\n");
        assert_eq!(sums(&text).ok(), Some(vec![[0xaa; 32], [0xbb; 32]]));
        assert_eq!(sums("").ok(), Some(Vec::new()));
        for bad in [
            "token.wasm",
            "aa token.wasm",
            &"aa".repeat(33),
            &"gg".repeat(32),
        ] {
            let error = sums(&format!("{a}\n{bad}\n")).expect_err("list should be rejected");
            assert!(matches!(error, PinError::Malformed(2)), "{error}");
        }
    }
}
