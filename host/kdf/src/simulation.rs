//! Turns without threads, for tests and for the fuzz target: the queue, cost model and tables are those of
//! the engine, and the order is deterministic.

use crate::caller::CallerId;
use crate::cost::Model;
use crate::hashing::Hashing;
use crate::kernel::Processor;
use crate::path::Path;
use crate::queue::{Pass, Queue, Stream, Turn};
use bulkhead_crypto::{Hash, S2k};

/// The parameters of a derivation, as in [`S2k::new`].
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "S2k::new documents them")]
pub struct Work {
    pub hash: Hash,
    pub salt: Vec<u8>,
    pub passphrase: Vec<u8>,
    pub count: u32,
    pub key_len: usize,
}

impl Work {
    fn s2k(&self) -> S2k<'_> {
        S2k::new(
            self.hash,
            &self.salt,
            &self.passphrase,
            self.count,
            self.key_len,
        )
        .expect("key should have at most 64 bytes")
    }

    /// Returns the key as `RustCrypto` derives it, without this crate's optimisations.
    ///
    /// # Panics
    /// If the key has more than 64 bytes.
    pub fn plainly(&self) -> Vec<u8> {
        self.s2k()
            .derive(&mut || true)
            .expect("derivation should not be interrupted")
            .to_vec()
    }
}

/// Derives all keys on `threads` simulated threads, which take turns, and returns them in the order of
/// `works`. Each derivation has the number of turns after which it joins. With a `path`, only that one is
/// used.
///
/// # Panics
/// If a key has more than 64 bytes.
pub fn side_by_side(path: Option<Path>, threads: usize, works: &[(Work, usize)]) -> Vec<Vec<u8>> {
    let works = works.iter().map(|(work, at)| Planned {
        work: work.clone(),
        at: *at,
        caller: CallerId::UNKNOWN,
    });
    let ended = run(path, threads, &works.collect::<Vec<_>>());
    ended.into_iter().map(|ended| ended.key).collect()
}

/// A derivation of a caller, and the number of turns after which it joins.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) work: Work,
    pub(crate) at: usize,
    pub(crate) caller: CallerId,
}

/// A derivation that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) key: Vec<u8>,
    /// The number of turns after which the last pass ended.
    pub(crate) at: usize,
}

/// Derives all keys as [`side_by_side`], each for its caller.
pub(crate) fn run(path: Option<Path>, threads: usize, works: &[Planned]) -> Vec<Ended> {
    let processor = Processor::this();
    let model = Model::new(processor, path);
    let mut hashing: Vec<_> = (0..threads)
        .map(|_| Hashing::new(processor, path))
        .collect();
    let mut queue = Queue::new();
    let mut digests: Vec<Vec<_>> = works
        .iter()
        .map(|planned| vec![Vec::new(); planned.work.s2k().passes()])
        .collect();
    let mut ended_at = vec![0; works.len()];
    let mut taken: Vec<Option<Turn<(usize, usize)>>> = (0..threads).map(|_| None).collect();
    for turns in 0.. {
        let joining = works.iter().enumerate().filter(|(_, it)| it.at == turns);
        for (number, planned) in joining {
            let s2k = planned.work.s2k();
            for (at, pass) in Pass::all(&s2k).into_iter().enumerate() {
                queue.add(pass, s2k.bytes_per_pass(), planned.caller, (number, at));
            }
        }
        // Each thread ends its turn after all others have taken theirs.
        let thread = turns % threads;
        if let Some(turn) = taken[thread].take() {
            let begun = turn.taken();
            let Turn { path, mut streams } = turn;
            hashing[thread].run(path, &mut streams);
            let (over, going_on): (Vec<_>, Vec<Stream<_>>) =
                streams.into_iter().partition(|s| s.pass.is_over());
            queue.put_back(&begun, going_on);
            for stream in over {
                let (number, pass) = stream.owner;
                ended_at[number] = turns;
                digests[number][pass] = stream.pass.finish().to_vec();
            }
        }
        let idle = taken.iter().filter(|turn| turn.is_none()).count();
        taken[thread] = queue.take(&model, idle);
        let joined = works.iter().all(|planned| planned.at <= turns);
        if joined && queue.waiting() == 0 && queue.running() == 0 {
            break;
        }
    }
    works
        .iter()
        .zip(digests)
        .zip(ended_at)
        .map(|((planned, digests), at)| {
            let mut key = Vec::new();
            for digest in digests {
                planned.work.s2k().append(&mut key, &digest);
            }
            Ended { key, at }
        })
        .collect()
}

/// Returns each path that this processor supports, and `None` for the choice of the cost model.
pub fn paths() -> impl Iterator<Item = Option<Path>> {
    let available = Path::ALL.into_iter().filter(|path| path.is_available());
    available.map(Some).chain([None])
}
