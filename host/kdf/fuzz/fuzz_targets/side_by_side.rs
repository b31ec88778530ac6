//! Streams that join and leave, on every path: success would be a key that is not the one which
//! each derivation gives alone, a panic, or an access to memory that the address sanitizer sees.
#![no_main]

use arbitrary::Arbitrary;
use bulkhead_crypto::Hash;
use bulkhead_kdf::simulation::{Work, paths, side_by_side};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    threads: u8,
    works: Vec<Derivation<'a>>,
}

#[derive(Debug, Arbitrary)]
struct Derivation<'a> {
    hash: u8,
    salt: &'a [u8],
    passphrase: &'a [u8],
    /// So that a few octets of input make long passphrases, and equal ones meet.
    repeat: u8,
    octets: u32,
    key_len: u8,
    joins: u8,
}

fuzz_target!(|input: Input<'_>| {
    let works: Vec<_> = input
        .works
        .iter()
        .take(24)
        .map(|derivation| {
            let passphrase = derivation.passphrase.repeat(derivation.repeat.into());
            let work = Work {
                hash: Hash::ALL[usize::from(derivation.hash) % Hash::ALL.len()],
                salt: derivation.salt.to_vec(),
                passphrase,
                octets: derivation.octets % 300_000,
                key_len: usize::from(derivation.key_len) % 65,
            };
            (work, usize::from(derivation.joins))
        })
        .collect();
    let alone: Vec<_> = works.iter().map(|(work, _)| work.plainly()).collect();
    let threads = usize::from(input.threads) % 4 + 1;
    for path in paths() {
        assert_eq!(side_by_side(path, threads, &works), alone, "{path:?}");
    }
});
