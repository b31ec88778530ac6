//! Every path against `RustCrypto`, which knows nothing of periods, lanes or turns.

use crate::cost::Model;
use crate::hashing::Hashing;
use crate::kernel::Processor;
use crate::path::Path;
use crate::queue::{Pass, Queue, Turn};
use bulkhead_crypto::{Hash, S2k};
use proptest::prelude::*;
use sha1::digest::Digest;

/// A derivation, with what it takes.
#[derive(Debug, Clone)]
struct Work {
    hash: Hash,
    salt: Vec<u8>,
    passphrase: Vec<u8>,
    octets: u32,
    key_len: usize,
}

impl Work {
    fn s2k(&self) -> S2k<'_> {
        S2k::new(
            self.hash,
            &self.salt,
            &self.passphrase,
            self.octets,
            self.key_len,
        )
        .expect("a key of at most 64 octets")
    }

    fn plainly(&self) -> Vec<u8> {
        self.s2k()
            .derive(&mut || true)
            .expect("not interrupted")
            .to_vec()
    }
}

/// Some that make turns of all kinds.
fn works() -> impl Strategy<Value = Work> {
    let hash = prop_oneof![
        6 => prop_oneof![Just(Hash::Sha1), Just(Hash::Sha256), Just(Hash::Sha512)],
        1 => proptest::sample::select(&Hash::ALL[..]),
    ];
    let text = prop_oneof![
        // Few lengths, so that streams of the same period meet.
        8 => proptest::collection::vec(any::<u8>(), 8..11),
        2 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => proptest::collection::vec(any::<u8>(), 0..10_000),
    ];
    let octets = prop_oneof![0..2_000_u32, 0..100_000_u32, 100_000..1_000_000_u32];
    let salt = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 8),
        1 => proptest::collection::vec(any::<u8>(), 0..9),
    ];
    (hash, salt, text, octets, 0..=64_usize).prop_map(
        |(hash, salt, passphrase, octets, key_len)| Work {
            hash,
            salt,
            passphrase,
            octets,
            key_len,
        },
    )
}

/// Derives all keys on `threads` threads that take turns, by the cost model or on one path. `joins`
/// says after how many turns each joins.
fn side_by_side(path: Option<Path>, threads: usize, works: &[(Work, usize)]) -> Vec<Vec<u8>> {
    let processor = Processor::this();
    let model = Model::new(processor, path);
    let mut hashing: Vec<_> = (0..threads)
        .map(|_| Hashing::new(processor, path))
        .collect();
    let mut queue = Queue::new();
    let mut digests: Vec<Vec<_>> = works
        .iter()
        .map(|(work, _)| vec![Vec::new(); work.s2k().passes()])
        .collect();
    let mut taken: Vec<Option<Turn<(usize, usize)>>> = (0..threads).map(|_| None).collect();
    for turns in 0.. {
        for (number, (work, _)) in works.iter().enumerate().filter(|(_, (_, at))| *at == turns) {
            let s2k = work.s2k();
            for pass in 0..s2k.passes() {
                queue.add(Pass::new(&s2k, pass), s2k.octets_a_pass(), (number, pass));
            }
        }
        // Each thread ends its turn when all others have taken theirs.
        let thread = turns % threads;
        if let Some(Turn { path, mut streams }) = taken[thread].take() {
            let count = streams.len();
            let before: u64 = streams.iter().map(|stream| stream.octets_left).sum();
            hashing[thread].run(path, &mut streams);
            let after: u64 = streams.iter().map(|stream| stream.octets_left).sum();
            let (over, going_on) = streams.into_iter().partition(|s| s.pass.is_over());
            queue.put_back(count, going_on, before - after);
            for stream in over {
                let (number, pass) = stream.owner;
                digests[number][pass] = stream.pass.finish().to_vec();
            }
        }
        let idle = taken.iter().filter(|turn| turn.is_none()).count();
        taken[thread] = queue.take(&model, idle);
        let joined = works.iter().all(|(_, at)| *at <= turns);
        if joined && queue.waiting() == 0 && queue.running() == 0 {
            break;
        }
    }
    works
        .iter()
        .zip(digests)
        .map(|((work, _), digests)| {
            let mut key = Vec::new();
            for digest in digests {
                work.s2k().append(&mut key, &digest);
            }
            key
        })
        .collect()
}

/// All that this processor has, and the choice of the cost model.
fn paths() -> impl Iterator<Item = Option<Path>> {
    let available = Path::ALL.into_iter().filter(|path| path.is_available());
    available.map(Some).chain([None])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 48 }))]

    #[test]
    fn streams_that_join_and_leave_get_the_keys_that_they_get_alone(
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

/// Digests of all coded counts (RFC 9580 section 3.7.1.3) in one go: the hasher is copied on the way.
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
            let octets = (16 + (coded & 15)) << ((coded >> 4) + 6);
            while done < octets as usize {
                let at = done % unit.len();
                let take = (octets as usize - done).min(text.len() - at);
                hasher.update(&text[at..at + take]);
                done += take;
            }
            (octets, hasher.clone().finalize().to_vec())
        })
        .collect()
}

fn check_all_counts<D: Digest + Clone>(hash: Hash) {
    let (salt, passphrase) = (b"saltsalt", b"correct horse battery staple");
    let unit = [&salt[..], passphrase].concat();
    let expected = [0, 1].map(|zeros| all_counts::<D>(&unit, zeros));
    let works: Vec<_> = expected[0]
        .iter()
        .map(|&(octets, _)| Work {
            hash,
            salt: salt.to_vec(),
            passphrase: passphrase.to_vec(),
            octets,
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
fn all_coded_counts_of_sha1() {
    check_all_counts::<sha1::Sha1>(Hash::Sha1);
}

#[test]
fn all_coded_counts_of_sha256() {
    check_all_counts::<sha2::Sha256>(Hash::Sha256);
}

#[test]
fn all_coded_counts_of_sha512() {
    check_all_counts::<sha2::Sha512>(Hash::Sha512);
}
