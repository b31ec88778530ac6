//! Comparison of all paths with `RustCrypto`, which has no periods, lanes or turns.

use crate::caller::CallerId;
use crate::path::Path;
use crate::simulation::{Planned, Work, paths, run, side_by_side};
use bulkhead_crypto::Hash;
use proptest::prelude::*;
use sha1::digest::Digest;

/// Generates derivations that lead to turns of all kinds.
fn works() -> impl Strategy<Value = Work> {
    let hash = prop_oneof![
        6 => prop_oneof![Just(Hash::Sha1), Just(Hash::Sha256), Just(Hash::Sha512)],
        1 => proptest::sample::select(&Hash::ALL[..]),
    ];
    let text = prop_oneof![
        // There are few lengths, so that streams often have the same period.
        8 => proptest::collection::vec(any::<u8>(), 8..11),
        2 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => proptest::collection::vec(any::<u8>(), 0..10_000),
    ];
    let count = prop_oneof![0..2_000_u32, 0..100_000_u32, 100_000..1_000_000_u32];
    let salt = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 8),
        1 => proptest::collection::vec(any::<u8>(), 0..9),
    ];
    (hash, salt, text, count, 0..=64_usize).prop_map(|(hash, salt, passphrase, count, key_len)| {
        Work {
            hash,
            salt,
            passphrase,
            count,
            key_len,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 48 }))]

    #[test]
    fn keys_equal_rustcrypto_when_streams_join_and_leave(
        works in proptest::collection::vec((works(), 0..30_usize), 1..30),
        threads in 1..4_usize,
    ) {
        let alone: Vec<_> = works.iter().map(|(work, _)| work.plainly()).collect();
        for path in paths() {
            let together = side_by_side(path, threads, &works);
            prop_assert!(together == alone, "on {path:?}");
        }
    }
}

/// Returns all 256 coded counts (RFC 9580 section 3.7.1.3) with their digests. A single hasher runs through
/// the text and is cloned at each count.
fn all_counts<D: Digest + Clone>(unit: &[u8], zeros: usize) -> Vec<(u32, Vec<u8>)> {
    let mut hasher = D::new();
    hasher.update(&[0; 8][..zeros]);
    let text: Vec<u8> = unit
        .iter()
        .copied()
        .cycle()
        .take(unit.len() * 4096)
        .collect();
    let mut done = 0;
    (0..=255_u32)
        .map(|coded| {
            let count = (16 + (coded & 15)) << ((coded >> 4) + 6);
            while done < count as usize {
                let at = done % unit.len();
                let take = (count as usize - done).min(text.len() - at);
                hasher.update(&text[at..at + take]);
                done += take;
            }
            (count, hasher.clone().finalize().to_vec())
        })
        .collect()
}

fn check_all_counts<D: Digest + Clone>(hash: Hash) {
    let (salt, passphrase) = (b"saltsalt", b"correct horse battery staple");
    let unit = [&salt[..], passphrase].concat();
    let expected = [0, 1].map(|zeros| all_counts::<D>(&unit, zeros));
    let works: Vec<_> = expected[0]
        .iter()
        .map(|&(count, _)| Work {
            hash,
            salt: salt.to_vec(),
            passphrase: passphrase.to_vec(),
            count,
            key_len: 2 * hash.digest_len().min(32),
        })
        .enumerate()
        .map(|(number, work)| (work, number))
        .collect();
    let path = [Path::Avx512, Path::Avx2]
        .into_iter()
        .find(|path| path.is_available());
    for path in [path, None] {
        let keys = side_by_side(path, 2, &works);
        for (number, key) in keys.iter().enumerate() {
            let mut whole = expected[0][number].1.clone();
            whole.extend_from_slice(&expected[1][number].1);
            assert_eq!(
                key[..],
                whole[..key.len()],
                "{hash:?}, count {number}, {path:?}"
            );
        }
    }
}

#[test]
fn sha1_keys_are_correct_for_all_coded_counts() {
    check_all_counts::<sha1::Sha1>(Hash::Sha1);
}

#[test]
fn sha256_keys_are_correct_for_all_coded_counts() {
    check_all_counts::<sha2::Sha256>(Hash::Sha256);
}

#[test]
fn sha512_keys_are_correct_for_all_coded_counts() {
    check_all_counts::<sha2::Sha512>(Hash::Sha512);
}

fn sha1(count: u32) -> Work {
    Work {
        hash: Hash::Sha1,
        salt: b"saltsalt".to_vec(),
        passphrase: b"topsecret".to_vec(),
        count,
        key_len: 32,
    }
}

/// Returns the number of turns that each derivation takes on two threads. Each turn has one stream, so that the
/// number does not depend on the processor.
fn turns(works: &[Planned]) -> Vec<usize> {
    let ended = run(Some(Path::Plain), 2, works);
    let turns = ended.iter().zip(works);
    turns
        .map(|(ended, planned)| ended.at - planned.at)
        .collect()
}

#[test]
fn flood_of_one_caller_does_not_delay_another() {
    const COUNT: u32 = 4 << 20;
    let single = |at| Planned {
        work: sha1(COUNT),
        at,
        caller: CallerId::of("single"),
    };
    let alone = turns(&[single(0)])[0];
    assert!(alone > 30, "{alone} turns show nothing");
    for flood in [20, 200] {
        let flooding = Planned {
            work: sha1(COUNT),
            at: 0,
            caller: CallerId::of("flood"),
        };
        let mut works = vec![flooding; flood];
        // The second one comes while the first is computed, the third after it.
        works.extend([10, 15, 500].map(single));
        let turns = turns(&works);
        // Both threads may have just begun a turn of the flood.
        let fair = [2, 2, 1].map(|share| share * alone + 4);
        for (turns, fair) in turns[flood..].iter().zip(fair) {
            assert!(
                *turns <= fair,
                "{turns} turns beside {flood}, alone {alone}"
            );
        }
    }
}

/// A caller that always has a derivation gets its share, and not more.
#[test]
fn steady_caller_does_not_starve_another() {
    const COUNT: u32 = 2 << 20;
    let alone = turns(&[Planned {
        work: sha1(8 * COUNT),
        at: 0,
        caller: CallerId::of("single"),
    }])[0];
    let mut works: Vec<_> = (0..100)
        .map(|number| Planned {
            work: sha1(COUNT),
            at: number * alone / 20,
            caller: CallerId::of("steady"),
        })
        .collect();
    works.push(Planned {
        work: sha1(8 * COUNT),
        at: 1,
        caller: CallerId::of("single"),
    });
    let turns = turns(&works);
    assert!(
        turns[100] <= 2 * alone + alone / 2,
        "{} and {alone}",
        turns[100]
    );
}
