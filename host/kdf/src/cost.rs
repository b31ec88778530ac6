//! The cost model: it chooses the streams that a thread hashes next, and the path.
//!
//! Each path has a rate, in bytes per microsecond (MB/s) of one core over all its streams. A vector takes
//! the same time with one lane in use as with all, so that its rate grows with the number of streams. The
//! SHA instructions gain from a second stream, but not from a third. The model gives a thread the streams
//! that maximise the sum of the rates of all threads without work. With two threads and sixteen streams of
//! SHA-1, for example, one thread takes two streams with SHA-NI and the other takes fourteen in lanes.
//!
//! The rates were measured on one core of an Intel Xeon of 2023. `bench/run.sh kdf` measures them again.
//! Only their ratios matter: if two paths have similar rates, the choice between them is not important.

use crate::family::Kind;
use crate::kernel::Processor;
use crate::path::Path;

/// Number of threads without work above which the choice does not change. The number of streams that they
/// can take is the corresponding limit for streams.
const THREADS_MAX: usize = 8;

/// The rates of a family, in MB/s.
#[derive(Debug, Clone, Copy)]
struct Rates {
    plain: u32,
    /// The rates of one and of two streams with SHA-NI.
    few: Option<[u32; 2]>,
    /// The path of the lanes, its rate with all lanes in use, and the number of lanes.
    lanes: Option<(Path, u32, usize)>,
    /// The only path to use, if the family supports it.
    forced: Option<Path>,
}

/// The path and the number of streams of a thread's next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) path: Path,
    pub(crate) streams: usize,
}

/// The choices by family, computed once.
#[derive(Debug)]
pub(crate) struct Model {
    /// One choice per family, number of threads without work (from 1) and number of streams (from 1).
    choices: [Vec<Vec<Choice>>; Kind::ALL.len()],
}

impl Model {
    /// Creates the model for a processor, or for a single path of it.
    pub(crate) fn new(processor: Processor, forced: Option<Path>) -> Self {
        Self {
            choices: Kind::ALL.map(|kind| choices(&Rates::of(kind, processor, forced))),
        }
    }

    /// Returns the next turn of one of `idle` threads without work. `alike` is the number of streams that
    /// could share lanes, and `family` the number of all streams with that hash, which the SHA instructions
    /// can combine. Both are at least 1.
    pub(crate) fn choose(&self, kind: Kind, idle: usize, alike: usize, family: usize) -> Choice {
        let by_idle = &self.choices[kind as usize];
        let by_alike = &by_idle[idle.clamp(1, by_idle.len()) - 1];
        let choice = by_alike[alike.clamp(1, by_alike.len()) - 1];
        match choice.path {
            // One thread for each stream is better than a pair of streams on one thread.
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

    /// Returns the best choice for this number of streams on one thread, with its rate.
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
        let all = [plain, few, lanes].into_iter().flatten();
        let forced = |rated: &(u32, Choice)| self.forced.is_none_or(|path| rated.1.path == path);
        let best = all.filter(forced).max_by_key(|rated| rated.0);
        // A family without the forced path uses the plain path, with one stream at a time.
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

/// Returns the choice of the first thread that maximises the sum of the rates, for each number of threads
/// and of streams. The row for one more thread is computed from the row before.
fn choices(rates: &Rates) -> Vec<Vec<Choice>> {
    let widest = (1..=64).filter(|&n| rates.best(n).is_some()).max();
    let widest = widest.unwrap_or(1);
    let max = widest * THREADS_MAX;
    // The maximum sum of the previous threads, by the number of streams from 0.
    let mut sums = vec![0; max + 1];
    let mut all = Vec::new();
    for _ in 0..THREADS_MAX {
        let mut next = vec![0];
        let mut row = Vec::new();
        for streams in 1..=max {
            let candidates = (1..=streams.min(widest)).filter_map(|n| rates.best(n));
            let summed =
                candidates.map(|(rate, choice)| (rate + sums[streams - choice.streams], choice));
            // Of equal sums, the one with the most streams on this thread leaves a thread to others.
            let (sum, choice) = summed
                .max_by_key(|(sum, choice)| (*sum, choice.streams))
                .expect("every family should have a path for one stream");
            next.push(sum);
            row.push(choice);
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
    fn two_threads_split_sixteen_streams_between_sha_ni_and_lanes() {
        let first = chosen(SHA1, 2, 16, 16);
        let (_, taken) = first;
        let mut both = [first, chosen(SHA1, 1, 16 - taken, 16 - taken)];
        both.sort_by_key(|(_, streams)| *streams);
        assert_eq!(both, [(Path::ShaNi, 2), (Path::Avx512, 14)]);
    }

    #[test]
    fn passes_of_one_key_use_separate_threads_or_a_pair() {
        assert_eq!(chosen(SHA1, 2, 2, 2), (Path::ShaNi, 1), "one each");
        assert_eq!(chosen(SHA1, 1, 2, 2), (Path::ShaNi, 2), "a pair");
    }

    #[test]
    fn streams_with_different_periods_form_pairs() {
        assert_eq!(chosen(SHA1, 1, 1, 9), (Path::ShaNi, 2));
        assert_eq!(chosen(SHA1, 4, 1, 4), (Path::ShaNi, 1), "one each");
    }

    #[test]
    fn forced_path_is_the_only_one() {
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
            // This family has no such path.
            assert_eq!(forced(Path::Avx2), (Path::Plain, 1));
        }
    }

    #[test]
    fn choice_never_exceeds_the_number_of_streams() {
        let model = model(SHA1);
        for idle in 1..=2 * THREADS_MAX {
            for streams in 1..300 {
                let choice = model.choose(Kind::Sha1, idle, streams, streams);
                assert!((1..=streams).contains(&choice.streams), "{idle} {streams}");
            }
        }
    }
}
