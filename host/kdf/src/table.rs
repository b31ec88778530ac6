//! The schedules of streams side by side, in the layout of vector lanes.

use crate::family::Family;
use crate::kernel::{Lanes, Line};
use crate::periodic::Periodic;
use zeroize::Zeroize as _;

/// A stream to hash in a lane, with its unique number.
pub(crate) struct InLane<'a, F: Family> {
    pub(crate) id: u64,
    pub(crate) pass: &'a mut Periodic<F>,
}

/// A [`Table`] with lanes of any width.
pub(crate) trait SideBySide<F: Family>: Send {
    /// Hashes `steps` blocks of each stream. The streams have the same period and at least `steps` blocks
    /// left. There are at most as many streams as lanes.
    fn run(&mut self, streams: &mut [InLane<'_, F>], steps: usize);

    /// Wipes all schedules.
    fn wipe(&mut self);

    /// Returns whether the table contains no schedules.
    #[cfg(test)]
    fn is_empty(&self) -> bool;
}

/// A table of schedules, with a row for each block of the period, [`Family::ROUNDS`] lines per row, and a
/// column for each lane.
///
/// All lanes are at the same row at the same time. A stream that joins may be at any block of its period,
/// so that its column is written with the corresponding shift. Columns remain from one turn to the next:
/// nothing is written if the same streams return.
pub(crate) struct Table<F: Family, L: Lanes<F>> {
    lanes: L,
    lines: Vec<L::Line>,
    period: usize,
    /// The next row.
    row: usize,
    columns: Vec<Option<Column>>,
}

/// The stream whose schedules a column contains, and the block in row 0.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Column {
    id: u64,
    shift: usize,
}

impl<F: Family, L: Lanes<F>> Table<F, L> {
    pub(crate) fn new(lanes: L) -> Self {
        Self {
            lanes,
            lines: Vec::new(),
            period: 0,
            row: 0,
            columns: vec![None; width::<F, L>()],
        }
    }

    /// Assigns a lane to each stream, and returns the lanes.
    fn seat(&mut self, streams: &mut [InLane<'_, F>]) -> Vec<usize> {
        let wanted: Vec<Column> = streams
            .iter()
            .map(|stream| Column {
                id: stream.id,
                shift: (stream.pass.at + self.period - self.row) % self.period,
            })
            .collect();
        for at in 0..self.columns.len() {
            if self.columns[at].is_some_and(|column| !wanted.contains(&column)) {
                self.columns[at] = None;
                self.write(at, |_, _| F::Word::default());
            }
        }
        wanted
            .into_iter()
            .zip(streams)
            .map(|(column, stream)| {
                let seated = self.columns.iter().position(|c| *c == Some(column));
                seated.unwrap_or_else(|| {
                    let free = self.columns.iter().position(Option::is_none);
                    let free = free.expect("streams should not outnumber the lanes");
                    stream.pass.expand();
                    let (schedules, period) = (stream.pass.schedules(), self.period);
                    self.write(free, |row, round| {
                        let block = (row + column.shift) % period;
                        F::lane_word(&schedules[block * F::ROUNDS..][..F::ROUNDS], round)
                    });
                    self.columns[free] = Some(column);
                    free
                })
            })
            .collect()
    }

    fn write(&mut self, lane: usize, word: impl Fn(usize, usize) -> F::Word) {
        for (row, lines) in self.lines.chunks_exact_mut(F::ROUNDS).enumerate() {
            for (round, line) in lines.iter_mut().enumerate() {
                line.words_mut()[lane] = word(row, round);
            }
        }
    }
}

impl<F: Family, L: Lanes<F>> SideBySide<F> for Table<F, L> {
    fn run(&mut self, streams: &mut [InLane<'_, F>], steps: usize) {
        let Some(first) = streams.first() else { return };
        if self.period != first.pass.period() {
            self.wipe();
            self.period = first.pass.period();
            self.lines = vec![L::Line::default(); self.period * F::ROUNDS];
        }
        let seats = self.seat(streams);
        let mut state = [L::Line::default(); 8];
        for (&lane, stream) in seats.iter().zip(&*streams) {
            for (line, word) in state.iter_mut().zip(stream.pass.state) {
                line.words_mut()[lane] = word;
            }
        }
        self.lanes.run(&mut state, &self.lines, self.row, steps);
        self.row = (self.row + steps) % self.period;
        for (&lane, stream) in seats.iter().zip(streams) {
            for (line, word) in state.iter().zip(&mut stream.pass.state) {
                *word = line.words()[lane];
            }
            stream.pass.advanced(steps);
        }
        for line in &mut state {
            line.words_mut().zeroize();
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn wipe(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        for line in &mut self.lines {
            line.words_mut().zeroize();
        }
        self.lines = Vec::new();
        self.period = 0;
        self.row = 0;
        self.columns.fill(None);
    }
}

impl<F: Family, L: Lanes<F>> Drop for Table<F, L> {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// Returns the number of lanes.
pub(crate) fn width<F: Family, L: Lanes<F>>() -> usize {
    L::Line::default().words().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::{Sha1, Sha256, Sha512};
    use crate::kernel::Arrays;
    use bulkhead_crypto::{Hash, S2k};

    /// Checks that streams which join, leave, swap places and are at different blocks get the same state as
    /// alone. The lanes are arrays, which also run under Miri.
    fn check_lanes<F: Family>(hash: Hash, initial: [F::Word; 8])
    where
        Arrays: Lanes<F>,
    {
        let text = |n: u8| ([n; 8], [n ^ 0xa5; 5]);
        let pass = |n: u8| {
            let (salt, passphrase) = text(n);
            let s2k =
                S2k::new(hash, &salt, &passphrase, 40_000, 64).expect("parameters should be valid");
            Periodic::<F>::new(&s2k, usize::from(n % 2), initial).expect("text should be periodic")
        };
        let mut table = Table::<F, _>::new(Arrays);
        let mut together: Vec<_> = (0..5).map(pass).collect();
        let mut alone: Vec<_> = (0..5).map(pass).collect();
        let turns: [(&[usize], usize); 7] = [
            (&[0], 3),
            (&[0, 1], 20),
            (&[1, 0], 13),
            (&[2, 1], 1),
            (&[4, 3], 29),
            (&[3, 4], 13),
            (&[0, 2], 14),
        ];
        for (numbers, steps) in turns {
            let mut streams: Vec<_> = together
                .iter_mut()
                .enumerate()
                .filter(|(number, _)| numbers.contains(number))
                .map(|(number, pass)| InLane {
                    id: number as u64,
                    pass,
                })
                .collect();
            if numbers[0] > numbers[1 % numbers.len()] {
                streams.reverse();
            }
            table.run(&mut streams, steps);
            for &number in numbers {
                alone[number].compress(steps);
            }
            for (number, (together, alone)) in together.iter().zip(&alone).enumerate() {
                assert_eq!(together.state[..5], alone.state[..5], "stream {number}");
                assert_eq!((together.at, together.left), (alone.at, alone.left));
            }
        }
        table.wipe();
        assert!(table.lines.is_empty() && table.columns.iter().all(Option::is_none));
    }

    #[test]
    fn sha1_lanes_equal_single_streams() {
        check_lanes::<Sha1>(Hash::Sha1, [1; 8]);
    }

    #[test]
    fn sha256_lanes_equal_single_streams() {
        check_lanes::<Sha256>(Hash::Sha256, [2; 8]);
    }

    #[test]
    fn sha512_lanes_equal_single_streams() {
        check_lanes::<Sha512>(Hash::Sha512, [3; 8]);
    }

    /// The schedules of a stream that leaves are wiped even if no other stream takes the lane.
    #[test]
    fn schedules_of_a_departed_stream_are_wiped() {
        let text = |n: u8| ([n; 8], [n; 5]);
        let pass = |n: u8| {
            let (salt, passphrase) = text(n);
            let s2k = S2k::new(Hash::Sha1, &salt, &passphrase, 40_000, 16)
                .expect("parameters should be valid");
            Periodic::<Sha1>::new(&s2k, 0, [0; 8]).expect("text should be periodic")
        };
        let mut table = Table::<Sha1, _>::new(Arrays);
        let (mut first, mut second) = (pass(1), pass(2));
        table.run(
            &mut [
                InLane {
                    id: 1,
                    pass: &mut first,
                },
                InLane {
                    id: 2,
                    pass: &mut second,
                },
            ],
            1,
        );
        let lane = |table: &Table<Sha1, Arrays>, lane: usize| {
            table.lines.iter().any(|line| line.words()[lane] != 0)
        };
        assert!(lane(&table, 0) && lane(&table, 1));
        table.run(
            &mut [InLane {
                id: 2,
                pass: &mut second,
            }],
            1,
        );
        assert!(!lane(&table, 0) && lane(&table, 1));
    }
}
