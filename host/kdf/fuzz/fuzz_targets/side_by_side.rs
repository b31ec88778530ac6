//! Fuzzes streams that join and leave, on every path. A finding is a key that differs from that of the
//! derivation alone, a panic, or an invalid memory access that the address sanitizer reports.
#![no_main]

use bulkhead_crypto::Hash;
use bulkhead_kdf::simulation::{Work, paths, side_by_side};
use libfuzzer_sys::fuzz_target;

/// Number of input bytes for one derivation. All records have the same length, so that a change of one byte
/// changes one parameter, and the fuzzer can copy and move records.
const RECORD: usize = 7;

/// Maximum number of derivations: enough to fill all lanes and leave some over.
const DERIVATIONS_MAX: usize = 24;

/// Returns a derivation, and the number of turns after which it joins. Lengths and counts determine the
/// path. The bytes of salts and passphrases only have to differ.
fn derivation((number, record): (usize, &[u8; RECORD])) -> (Work, usize) {
    let [hash, salt, passphrase, count_low, count_high, key, joins] = record.map(usize::from);
    let text = |bytes: usize| (0..bytes).map(|at| (at * 7 + number) as u8).collect();
    let count = count_high << 8 | count_low;
    let work = Work {
        hash: Hash::ALL[hash % Hash::ALL.len()],
        salt: text(salt % 9),
        // Most passphrases have usual lengths. Some are too long for lanes.
        passphrase: text(if passphrase < 240 { passphrase % 48 } else { passphrase * 5 }),
        // Most derivations have at most one turn, some have several.
        count: if key >= 250 { count * 16 } else { count } as u32,
        key_len: key % 65,
    };
    (work, joins)
}

fuzz_target!(|input: &[u8]| {
    let Some((threads, records)) = input.split_first() else {
        return;
    };
    let (records, _) = records.as_chunks::<RECORD>();
    let works: Vec<_> = records
        .iter()
        .take(DERIVATIONS_MAX)
        .enumerate()
        .map(derivation)
        .collect();
    let alone: Vec<_> = works.iter().map(|(work, _)| work.plainly()).collect();
    let threads = usize::from(*threads) % 4 + 1;
    for path in paths() {
        assert_eq!(side_by_side(path, threads, &works), alone, "{path:?}");
    }
});
