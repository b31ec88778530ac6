//! A token component as somebody else would write one, with the standard library, for tests of how
//! components are checked and exchanged. It makes good tokens, and tests overwrite two constants in the
//! finished file: its version, so that there are as many editions as are wanted, and how it behaves.
//! Features build it against other contracts.

#[cfg(target_arch = "wasm32")]
mod component;

/// The version, as it is built. It is also the token of [`WHICH`].
const EDITION: &str = "7.0.0-edition.n0000000001";

/// How it behaves, as it is built.
const BEHAVIOUR: &str = "behaviour=good";

/// What has the version for a token.
pub const WHICH: &[u8] = b"which edition?";

/// The version of an edition; 1 is what is built.
pub fn version(edition: u64) -> String {
    format!("7.0.0-edition.n{edition:010}")
}

/// Makes another edition of the finished component.
pub fn edition(wasm: &[u8], edition: u64) -> Vec<u8> {
    overwritten(wasm, EDITION, &version(edition))
}

/// Makes one that behaves otherwise: `trap`, `loop`, `grow` and `fail` say what becomes of its self-test,
/// a `liar` makes wrong tokens, a `slow` one takes its time, a `loud` one prints, reads and panics when asked to, a `vain` one describes itself in two lines.
pub fn with_behaviour(wasm: &[u8], behaviour: &str) -> Vec<u8> {
    overwritten(wasm, BEHAVIOUR, &format!("behaviour={behaviour}"))
}

fn overwritten(wasm: &[u8], old: &str, new: &str) -> Vec<u8> {
    let (old, new) = (old.as_bytes(), new.as_bytes());
    assert_eq!(old.len(), new.len(), "as long as what it overwrites");
    let mut changed = wasm.to_vec();
    let mut places = 0;
    for at in 0..=wasm.len() - old.len() {
        if wasm[at..].starts_with(old) {
            changed[at..at + old.len()].copy_from_slice(new);
            places += 1;
        }
    }
    assert!(places > 0, "the constant is in the file");
    changed
}
