//! The tables of a thread, and one turn of hashing.

use crate::family::{Family, Kind, Sha1, Sha256, Sha512};
use crate::kernel::{Avx2, Avx512, Few, Lanes, Processor, ShaNi, Stream as FewStream};
use crate::path::Path;
use crate::queue::{Pass, PassFamily, Stream};
use crate::table::{InLane, SideBySide, Table};

/// Number of bytes of a stream that are hashed in one turn, which takes a fraction of a millisecond. After
/// each turn, a thread checks for new and cancelled streams.
const TURN_BYTES: u64 = 256 * 1024;

/// The table for the widest available lanes, if there are any.
type Tables<F> = Option<Box<dyn SideBySide<F>>>;

/// The tables of one thread.
pub(crate) struct Hashing {
    sha_ni: Option<ShaNi>,
    sha1: Tables<Sha1>,
    sha256: Tables<Sha256>,
    sha512: Tables<Sha512>,
}

impl Hashing {
    /// Creates the tables, for lanes of the kind that the cost model chooses.
    pub(crate) fn new(processor: Processor, lanes: Option<Path>) -> Self {
        Self {
            sha_ni: processor.sha_ni,
            sha1: table(processor, lanes),
            sha256: table(processor, lanes),
            sha512: table(processor, lanes),
        }
    }

    /// Wipes everything that earlier turns left behind.
    pub(crate) fn wipe(&mut self) {
        self.wipe_except(None);
    }

    /// Wipes all tables except that of `kind`, so that nothing remains of streams that do not use their
    /// table any more.
    fn wipe_except(&mut self, kind: Option<Kind>) {
        if kind != Some(Kind::Sha1) {
            self.sha1.iter_mut().for_each(|table| table.wipe());
        }
        if kind != Some(Kind::Sha256) {
            self.sha256.iter_mut().for_each(|table| table.wipe());
        }
        if kind != Some(Kind::Sha512) {
            self.sha512.iter_mut().for_each(|table| table.wipe());
        }
    }

    /// Performs one turn: hashes the same number of bytes of each stream. The streams have the same family,
    /// and in lanes the same period too.
    pub(crate) fn run<T>(&mut self, path: Path, streams: &mut [Stream<T>]) {
        let Some(first) = streams.first_mut() else {
            return;
        };
        let sha_ni = self.sha_ni;
        let kind = first.pass.kind().filter(|_| path.is_wide());
        self.wipe_except(kind);
        let each = match &mut first.pass {
            Pass::Straight(_, pass) => {
                let before = pass.left();
                pass.advance(TURN_BYTES);
                before - pass.left()
            }
            Pass::Sha1(_) => advance(path, &mut self.sha1, few(sha_ni), streams),
            Pass::Sha256(_) => advance(path, &mut self.sha256, few(sha_ni), streams),
            Pass::Sha512(_) => advance(path, &mut self.sha512, plain, streams),
        };
        for stream in &mut *streams {
            stream.bytes_left = stream.bytes_left.saturating_sub(each);
        }
    }
}

/// Hashes the blocks of a turn, or fewer if one of the streams has fewer left. Returns the number of bytes
/// of each stream.
fn advance<F: PassFamily, T>(
    path: Path,
    lanes: &mut Tables<F>,
    few: impl FnOnce(&mut [InLane<'_, F>], usize),
    streams: &mut [Stream<T>],
) -> u64 {
    let in_lanes = streams.iter_mut().filter_map(|stream| {
        let id = stream.id;
        F::of(&mut stream.pass).map(|pass| InLane { id, pass })
    });
    let mut streams: Vec<_> = in_lanes.collect();
    let turn = TURN_BYTES / F::BLOCK as u64;
    let left = streams.iter().map(|stream| stream.pass.left);
    let steps = left.fold(turn, u64::min);
    let blocks = usize::try_from(steps).expect("number of blocks of a turn should be small");
    match path {
        Path::Avx512 | Path::Avx2 => lanes
            .as_mut()
            .expect("cost model should choose an available path")
            .run(&mut streams, blocks),
        Path::ShaNi => few(&mut streams, blocks),
        Path::Plain => plain(&mut streams, blocks),
    }
    steps * F::BLOCK as u64
}

/// Hashes one stream after the other.
fn plain<F: Family>(streams: &mut [InLane<'_, F>], steps: usize) {
    for stream in streams {
        stream.pass.compress(steps);
    }
}

/// Returns a function that hashes two streams at a time with the processor's SHA instructions.
fn few<F: Few>(proof: Option<ShaNi>) -> impl FnOnce(&mut [InLane<'_, F>], usize) {
    move |streams, steps| {
        let proof = proof.expect("cost model should choose an available path");
        interleaved(proof, streams, steps);
    }
}

fn interleaved<F: Few>(proof: ShaNi, streams: &mut [InLane<'_, F>], steps: usize) {
    for stream in &mut *streams {
        stream.pass.expand();
    }
    for pair in streams.chunks_mut(2) {
        match pair {
            [one] => F::run(proof, [few_stream(one)], steps),
            [one, other] => F::run(proof, [few_stream(one), few_stream(other)], steps),
            _ => unreachable!("chunks have one or two streams"),
        }
    }
    for stream in streams {
        stream.pass.advanced(steps);
    }
}

fn few_stream<'a, F: Few>(stream: &'a mut InLane<'_, F>) -> FewStream<'a> {
    let at = stream.pass.at;
    let (state, schedules) = stream.pass.parts();
    FewStream {
        state,
        schedules,
        at,
    }
}

/// Creates a table for the widest lanes of the processor, or for those of `path`.
fn table<F: Family>(processor: Processor, path: Option<Path>) -> Tables<F>
where
    Avx512: Lanes<F>,
    Avx2: Lanes<F>,
{
    let avx512 = processor.avx512.filter(|_| path != Some(Path::Avx2));
    let avx512 = avx512.map(|lanes| Box::new(Table::new(lanes)) as Box<dyn SideBySide<F>>);
    avx512.or_else(|| Some(Box::new(Table::new(processor.avx2?))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::CallerId;
    use bulkhead_crypto::{Hash, S2k};

    /// A thread that is busy with one hash must not keep key material of another.
    #[test]
    fn turn_wipes_the_tables_that_it_does_not_use() {
        let processor = Processor::this();
        let Some(path) = [Path::Avx512, Path::Avx2]
            .into_iter()
            .find(|path| path.is_available())
        else {
            return;
        };
        let turn = |hash| {
            let s2k = S2k::new(hash, b"saltsalt", b"topsecret", 1_000_000, 20)
                .expect("parameters should be valid");
            let mut queue = crate::queue::Queue::new();
            for pass in Pass::all(&s2k) {
                queue.add(pass, s2k.bytes_per_pass(), CallerId::UNKNOWN, ());
            }
            queue.remove(|_| true)
        };
        let mut hashing = Hashing::new(processor, None);
        let empty = |hashing: &Hashing| {
            let sha1 = hashing.sha1.as_ref().is_none_or(|table| table.is_empty());
            let sha512 = hashing.sha512.as_ref().is_none_or(|table| table.is_empty());
            (sha1, sha512)
        };
        hashing.run(path, &mut turn(Hash::Sha512));
        assert_eq!(empty(&hashing), (true, false));
        hashing.run(path, &mut turn(Hash::Sha1));
        assert_eq!(empty(&hashing), (false, true));
        hashing.run(Path::Plain, &mut turn(Hash::Sha1));
        assert_eq!(empty(&hashing), (true, true));
    }
}
