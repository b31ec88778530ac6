//! The list of files that may be taken, as `sha256sum` writes it.

use std::path::Path;

/// Octets of the list; a line takes about eighty.
const OCTETS_MAX: u64 = 1 << 20;

/// How the list is called.
const LIST: &str = "the list of --components-pin (BULKHEAD_COMPONENTS_PIN)";

/// Why a file is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unpinned {
    /// The list says nothing about it.
    NotListed,
    /// The list says nothing at all; why.
    NoList(String),
}

impl std::fmt::Display for Unpinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotListed => write!(
                f,
                "its sha256 is not in {LIST}; add it there if the file is to be trusted"
            ),
            Self::NoList(why) => f.write_str(why),
        }
    }
}

/// Whether the list names this sum.
pub(super) fn check(list: &Path, sha256: &[u8; 32]) -> Result<(), Unpinned> {
    let sums = read(list).map_err(Unpinned::NoList)?;
    if sums.contains(sha256) {
        Ok(())
    } else {
        Err(Unpinned::NotListed)
    }
}

/// All sums in the list. The error says what is the matter with it.
pub(super) fn read(list: &Path) -> Result<Vec<[u8; 32]>, String> {
    let octets = super::folder::read(list, OCTETS_MAX).map_err(|why| format!("{LIST} {why}"))?;
    let text = String::from_utf8(octets).map_err(|_| format!("{LIST} is not text"))?;
    sums(&text)
}

/// A sum in hexadecimal begins each line; what follows it is for people. Empty lines and those that
/// begin with `#` say nothing.
fn sums(text: &str) -> Result<Vec<[u8; 32]>, String> {
    let lines = text.lines().zip(1..);
    lines
        .filter_map(|(line, number)| Some((line.split_whitespace().next()?, number)))
        .filter(|(word, _)| !word.starts_with('#'))
        .map(|(word, number)| {
            let mut sum = [0; 32];
            // sha256sum puts a backslash in front where the name has one.
            match base16ct::mixed::decode(word.trim_start_matches('\\'), &mut sum) {
                Ok(octets) if octets.len() == 32 => Ok(sum),
                _ => Err(format!(
                    "line {number} of {LIST} does not begin with a sha256"
                )),
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
        assert_eq!(sums(&text), Ok(vec![[0xaa; 32], [0xbb; 32]]));
        assert_eq!(sums(""), Ok(Vec::new()));
        for bad in [
            "token.wasm",
            "aa token.wasm",
            &"aa".repeat(33),
            &"gg".repeat(32),
        ] {
            let refused = sums(&format!("{a}\n{bad}\n")).expect_err("refused");
            assert!(refused.starts_with("line 2 "), "{refused}");
        }
    }
}
