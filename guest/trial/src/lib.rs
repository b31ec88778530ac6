//! A token component with the standard library, as a third party would write it, for tests of admission and hot swap.
//!
//! It makes correct tokens. Tests overwrite two constants in the finished file: the version, to make as many editions as
//! they need, and the behaviour. Features build it against other contracts.

#[cfg(target_arch = "wasm32")]
mod component;

/// The version of the finished file. The component also returns it as the token of [`WHICH`].
const EDITION: &str = "7.0.0-edition.n0000000001";

/// The behaviour of the finished file.
const BEHAVIOUR: &str = "behaviour=good";

/// The body whose token is the version.
pub const WHICH: &[u8] = b"which edition?";

/// Returns the version of an edition. The finished file is edition 1.
pub fn version(edition: u64) -> String {
    format!("7.0.0-edition.n{edition:010}")
}

/// Returns another edition of the component `wasm`.
///
/// # Panics
/// If `wasm` is not this component.
pub fn edition(wasm: &[u8], edition: u64) -> Vec<u8> {
    overwritten(wasm, EDITION, &version(edition))
}

/// Returns the component `wasm` with another behaviour: one of `good`, `trap`, `loop`, `grow` and `fail` (during the
/// self-test), `liar` (wrong tokens), `slow` (takes milliseconds), `loud` (prints, reads, and panics on request) and `vain`
/// (a summary of two lines).
///
/// # Panics
/// If `wasm` is not this component, or the behaviour does not have four letters.
pub fn with_behaviour(wasm: &[u8], behaviour: &str) -> Vec<u8> {
    overwritten(wasm, BEHAVIOUR, &format!("behaviour={behaviour}"))
}

fn overwritten(wasm: &[u8], old: &str, new: &str) -> Vec<u8> {
    let (old, new) = (old.as_bytes(), new.as_bytes());
    assert_eq!(
        old.len(),
        new.len(),
        "the replacement must have the same length"
    );
    let mut changed = wasm.to_vec();
    let mut replaced = false;
    for at in 0..=wasm.len() - old.len() {
        if wasm[at..].starts_with(old) {
            changed[at..at + old.len()].copy_from_slice(new);
            replaced = true;
        }
    }
    assert!(replaced, "the file does not contain the constant");
    changed
}
