//! The schedules of streams side by side, as the lanes of vectors take them.

use crate::family::Family;
use crate::kernel::{Lanes, Line};
use crate::periodic::Periodic;
use zeroize::Zeroize as _;

/// A stream in a lane, by the number that tells it from all others.
pub(crate) struct InLane<'a, F: Family> {
    pub(crate) id: u64,
    pub(crate) pass: &'a mut Periodic<F>,
}

/// Lanes of any width.
pub(crate) trait SideBySide<F: Family>: Send {
    /// Takes streams of the same period through `steps` blocks each. They are at most as many as
    /// there are lanes, and have that much left.
    fn run(&mut self, streams: &mut [InLane<'_, F>], steps: usize);

    /// Wipes what it remembers of streams.
    fn wipe(&mut self);
}

/// A row for each block of the period, [`Family::ROUNDS`] lines a row, and in each a column a lane.
///
/// All lanes are at the same row at the same time. A stream that joins is at some block of its own
/// period, so that its column is written shifted by that much. Columns stay from one turn to the
/// next: while the same streams come back, nothing is written.
pub(crate) struct Table<F: Family, L: Lanes<F>> {
    lanes: L,
    lines: Vec<L::Line>,
    period: usize,
    /// The row that comes next.
    row: usize,
    columns: Vec<Option<Column>>,
}

/// Whose schedules a column holds, and which of its blocks is in row 0.
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

    /// Gives each stream a lane, and says which.
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
                    let free = free.expect("as many lanes as streams");
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

    fn wipe(&mut self) {
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

/// How many lanes there are.
pub(crate) fn width<F: Family, L: Lanes<F>>() -> usize {
    L::Line::default().words().len()
}
