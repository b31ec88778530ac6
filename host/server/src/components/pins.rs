//! The list of files that may be taken, as `sha256sum` writes it.

use std::path::Path;

/// Octets of the list; a line takes about eighty.
const OCTETS_MAX: u64 = 1 << 20;

/// Whether the list names this sum. The error says what is the matter.
pub(super) fn check(list: &Path, sha256: &[u8; 32]) -> Result<(), String> {
    let octets = super::folder::read(list, OCTETS_MAX)
        .map_err(|why| format!("the list of pinned components {why}"))?;
    let text = String::from_utf8(octets)
        .map_err(|_| "the list of pinned components is not text".to_owned())?;
    let sums = sums(&text)?;
    if sums.contains(sha256) {
        Ok(())
    } else {
        Err("it is not in the list of pinned components".into())
    }
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
            match base16ct::mixed::decode(word, &mut sum) {
                Ok(octets) if octets.len() == 32 => Ok(sum),
                _ => Err(format!(
                    "line {number} of the list of pinned components does not begin with a sha256"
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
        let text = format!("# ours\n\n{a}  token.wasm\n  {b} *with a blank.wasm\n");
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
