//! The cost model: which streams a thread takes next, and how it hashes them.
//!
//! Each way to hash has a rate, in octets a microsecond (MB/s) of one core over all its streams.
//! Vectors take as long with one lane in use as with all, so that their rate grows with the streams
//! side by side; the SHA instructions gain from a second stream and nothing from a third. A thread
//! that looks for work is given as many streams as make the rates of all threads without work the
//! highest together. With two threads and sixteen streams of SHA-1, for instance, one takes two
//! with SHA-NI and the other fourteen in lanes.
//!
//! The rates were measured side by side on one core of an Intel Xeon of 2023 (`bench/run.sh kdf`
//! measures them again). Only what they are to each other matters, and of that little: where two
//! ways are near to each other, it is not important which one is taken.

use crate::family::Kind;
use crate::kernel::Processor;
use crate::path::Path;

/// More threads without work, or more streams, than this make no difference to a choice.
const THREADS_MAX: usize = 8;

/// The rates of a family.
#[derive(Debug, Clone, Copy)]
struct Rates {
    plain: u32,
    /// Of one and of two streams.
    few: Option<[u32; 2]>,
    /// With all lanes in use, and how many they are.
    lanes: Option<(Path, u32, usize)>,
    /// No other way is allowed, where there is one for the family.
    forced: Option<Path>,
}

/// What one thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) path: Path,
    pub(crate) streams: usize,
}

/// Choices by family, worked out once.
#[derive(Debug)]
pub(crate) struct Model {
    /// For each family, for each number of threads without work (from 1), for each number of
    /// streams (from 1).
    choices: [Vec<Vec<Choice>>; Kind::ALL.len()],
}

impl Model {
    /// For a processor, or for one path of it alone.
    pub(crate) fn new(processor: Processor, forced: Option<Path>) -> Self {
        Self {
            choices: Kind::ALL.map(|kind| choices(&Rates::of(kind, processor, forced))),
        }
    }

    /// What one of `idle` threads without work takes next: of `alike` streams, which could share
    /// lanes, or of all `family` of that hash, which only the SHA instructions do together. There is
    /// at least one of each.
    pub(crate) fn choose(&self, kind: Kind, idle: usize, alike: usize, family: usize) -> Choice {
        let by_idle = &self.choices[kind as usize];
        let by_alike = &by_idle[idle.clamp(1, by_idle.len()) - 1];
        let choice = by_alike[alike.clamp(1, by_alike.len()) - 1];
        match choice.path {
            // A thread for each is better than a pair on one.
            Path::ShaNi if family > idle => Choice {
                streams: 2,
                ..choice
            },
            Path::Plain | Path::ShaNi | Path::Avx512 | Path::Avx2 => choice,
        }
    }
}

impl Rates {
    fn of(kind: Kind, processor: Processor, forced: Option<Path>) -> Self {
        let sha_ni = processor.sha_ni.is_some();
        let (plain, few, avx512, avx2) = match kind {
            Kind::Sha1 => (
                if sha_ni { 1000 } else { 450 },
                Some([1550, 2340]),
                (7800, 16),
                (2500, 8),
            ),
            Kind::Sha256 => (
                if sha_ni { 1090 } else { 220 },
                Some([1140, 1540]),
                (4000, 16),
                (1300, 8),
            ),
            Kind::Sha512 => (340, None, (3600, 8), (1300, 4)),
        };
        let wide = |path, (rate, lanes): (u32, usize)| Some((path, rate, lanes));
        let lanes = match (processor.avx512, processor.avx2) {
            (Some(_), _) if forced != Some(Path::Avx2) => wide(Path::Avx512, avx512),
            (_, Some(_)) => wide(Path::Avx2, avx2),
            _ => None,
        };
        Self {
            plain,
            few: few.filter(|_| sha_ni),
            lanes,
            forced,
        }
    }

    /// The best way for so many streams on one thread, with its rate.
    fn best(&self, streams: usize) -> Option<(u32, Choice)> {
        let choice = |path| Choice { path, streams };
        let plain = (streams == 1).then(|| (self.plain, choice(Path::Plain)));
        let few = self.few.filter(|_| streams <= 2);
        let few = few.map(|rates| (rates[streams - 1], choice(Path::ShaNi)));
        let lanes = self.lanes.filter(|&(_, _, lanes)| streams <= lanes);
        let lanes = lanes.map(|(path, rate, lanes)| {
            let used = u32::try_from(streams).unwrap_or(u32::MAX);
            (
                rate * used / u32::try_from(lanes).unwrap_or(1),
                choice(path),
            )
        });
        let ways = [plain, few, lanes].into_iter().flatten();
        let forced = |way: &(u32, Choice)| self.forced.is_none_or(|path| way.1.path == path);
        let best = ways.clone().filter(forced).max_by_key(|way| way.0);
        // A family without the forced path is done plainly, and that stream by stream.
        best.or_else(|| plain.filter(|_| !self.has_forced()))
    }

    fn has_forced(&self) -> bool {
        match self.forced {
            None | Some(Path::Plain) => true,
            Some(Path::ShaNi) => self.few.is_some(),
            Some(path) => self.lanes.is_some_and(|(lanes, ..)| lanes == path),
        }
    }
}

/// The first of the threads' choices, for each number of threads and streams: what makes the sum of
/// their rates the highest. The table for one thread more is built on the one before.
fn choices(rates: &Rates) -> Vec<Vec<Choice>> {
    let widest = (1..=64).filter(|&n| rates.best(n).is_some()).max();
    let widest = widest.unwrap_or(1);
    let most = widest * THREADS_MAX;
    // The highest sum that the threads before reach with so many streams, from 0.
    let mut sums = vec![0; most + 1];
    let mut all = Vec::new();
    for _ in 0..THREADS_MAX {
        let mut next = vec![0];
        let mut row = Vec::new();
        for streams in 1..=most {
            let ways = (1..=streams.min(widest)).filter_map(|n| rates.best(n));
            let summed = ways.map(|(rate, way)| (rate + sums[streams - way.streams], way));
            // Of equals the one with the most streams: it leaves a thread to others.
            let (sum, way) = summed
                .max_by_key(|(sum, way)| (*sum, way.streams))
                .expect("every family has a way for one stream");
            next.push(sum);
            row.push(way);
        }
        sums = next;
        all.push(row);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA1: Rates = Rates {
        plain: 1000,
        few: Some([1550, 2340]),
        lanes: Some((Path::Avx512, 7800, 16)),
        forced: None,
    };

    fn model(rates: Rates) -> Model {
        Model {
            choices: [choices(&rates), choices(&rates), choices(&rates)],
        }
    }

    fn chosen(rates: Rates, idle: usize, alike: usize, family: usize) -> (Path, usize) {
        let Choice { path, streams } = model(rates).choose(Kind::Sha1, idle, alike, family);
        (path, streams)
    }

    #[test]
    fn sixteen_streams_for_two_threads() {
        let first = chosen(SHA1, 2, 16, 16);
        let (_, taken) = first;
        let mut both = [first, chosen(SHA1, 1, 16 - taken, 16 - taken)];
        both.sort_by_key(|(_, streams)| *streams);
        assert_eq!(both, [(Path::ShaNi, 2), (Path::Avx512, 14)]);
    }

    #[test]
    fn the_passes_of_one_key() {
        assert_eq!(chosen(SHA1, 2, 2, 2), (Path::ShaNi, 1), "one each");
        assert_eq!(chosen(SHA1, 1, 2, 2), (Path::ShaNi, 2), "a pair");
    }

    #[test]
    fn streams_with_unlike_texts_go_in_pairs() {
        assert_eq!(chosen(SHA1, 1, 1, 9), (Path::ShaNi, 2));
        assert_eq!(chosen(SHA1, 4, 1, 4), (Path::ShaNi, 1), "one each");
    }

    #[test]
    fn only_the_forced_path() {
        for streams in [1, 2, 9, 40] {
            let forced = |path| {
                let rates = Rates {
                    forced: Some(path),
                    ..SHA1
                };
                chosen(rates, 1, streams, streams)
            };
            assert_eq!(forced(Path::Plain), (Path::Plain, 1));
            assert_eq!(forced(Path::ShaNi), (Path::ShaNi, streams.min(2)));
            assert_eq!(forced(Path::Avx512), (Path::Avx512, streams.min(16)));
            // Which this one has not.
            assert_eq!(forced(Path::Avx2), (Path::Plain, 1));
        }
    }

    /// However many threads and streams there are, a choice is one that can be done.
    #[test]
    fn never_more_than_there_are() {
        let model = model(SHA1);
        for idle in 1..=2 * THREADS_MAX {
            for streams in 1..300 {
                let choice = model.choose(Kind::Sha1, idle, streams, streams);
                assert!((1..=streams).contains(&choice.streams), "{idle} {streams}");
            }
        }
    }
}
