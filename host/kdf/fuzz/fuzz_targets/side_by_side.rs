//! Streams that join and leave, on every path: success would be a key that is not the one which
//! each derivation gives alone, a panic, or an access to memory that the address sanitizer sees.
#![no_main]

use bulkhead_crypto::Hash;
use bulkhead_kdf::simulation::{Work, paths, side_by_side};
use libfuzzer_sys::fuzz_target;

/// What is read of a derivation. Records of one length, so that a change of one octet changes one
/// thing, and records can be copied and moved.
const RECORD: usize = 7;

/// Enough to fill lanes and to leave some over.
const DERIVATIONS_MAX: usize = 24;

/// A derivation, and after how many turns it joins. What decides which way is taken are lengths and
/// counts; the octets of salts and passphrases only have to differ.
fn derivation((number, record): (usize, &[u8; RECORD])) -> (Work, usize) {
    let [hash, salt, passphrase, octets_low, octets_high, key, joins] = record.map(usize::from);
    let text = |octets: usize| (0..octets).map(|at| (at * 7 + number) as u8).collect();
    let octets = octets_high << 8 | octets_low;
    let work = Work {
        hash: Hash::ALL[hash % Hash::ALL.len()],
        salt: text(salt % 9),
        // Mostly of lengths as people choose them, some beyond what is hashed in lanes.
        passphrase: text(if passphrase < 240 { passphrase % 48 } else { passphrase * 5 }),
        // Up to a turn's octets, and some of several turns.
        octets: if key >= 250 { octets * 16 } else { octets } as u32,
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
