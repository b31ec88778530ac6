//! The list of files that may be taken, as `sha256sum` writes it.

use crate::config::components::ComponentSettings;
use crate::config::files::{self, FileError};
use bulkhead_http::{Setting, setting};
use std::path::Path;
use thiserror::Error;

/// Maximum size of the list, in bytes; a line takes about eighty.
const LIST_BYTES_MAX: u64 = 1 << 20;

const LIST: Setting = setting!(ComponentSettings, components_pin);

/// Why a file is not pinned.
#[derive(Debug, Error)]
pub(crate) enum PinError {
    #[error("its sha256 is not in the list of {LIST}; add it there if the file is to be trusted")]
    NotListed,
    #[error("the list of {LIST} {0}")]
    Unreadable(#[source] FileError),
    #[error("line {0} of the list of {LIST} does not begin with a sha256")]
    Malformed(usize),
}

/// Checks that the list names this sum.
pub(crate) fn check(list: &Path, sha256: &[u8; 32]) -> Result<(), PinError> {
    if read(list)?.contains(sha256) {
        Ok(())
    } else {
        Err(PinError::NotListed)
    }
}

/// All sums in the list.
pub(crate) fn read(list: &Path) -> Result<Vec<[u8; 32]>, PinError> {
    let text = files::read_text(list, LIST_BYTES_MAX).map_err(PinError::Unreadable)?;
    sums(&text)
}

/// A sum in hexadecimal begins each line; what follows it is for people. Empty lines and those that
/// begin with `#` say nothing.
fn sums(text: &str) -> Result<Vec<[u8; 32]>, PinError> {
    let lines = text.lines().zip(1..);
    lines
        .filter_map(|(line, number)| Some((line.split_whitespace().next()?, number)))
        .filter(|(word, _)| !word.starts_with('#'))
        .map(|(word, number)| {
            let mut sum = [0; 32];
            // sha256sum puts a backslash in front where the name has one.
            match base16ct::mixed::decode(word.trim_start_matches('\\'), &mut sum) {
                Ok(octets) if octets.len() == 32 => Ok(sum),
                _ => Err(PinError::Malformed(number)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_sha256sum_writes_them() {
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
            let error = sums(&format!("{a}\n{bad}\n")).expect_err("rejected");
            assert!(matches!(error, PinError::Malformed(2)), "{error}");
        }
    }
}
