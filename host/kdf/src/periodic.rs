//! One pass over periodic text, block by block.

use crate::family::{Family, Word};
use bulkhead_crypto::S2k;
use zeroize::{Zeroize as _, Zeroizing};

/// Maximum period in blocks. Tables for lanes have 5 KiB per block. Larger tables would exceed the
/// second-level cache, and writing a column would take longer than a turn.
pub(crate) const PERIOD_MAX: usize = 128;

/// Minimum number of periods. With fewer, computing the schedules in advance costs more than it saves.
const REPEATS_MIN: u64 = 8;

/// Approximate number of bytes of text per call on the plain path. It makes the cost of the calls negligible.
const TEXT_BYTES: usize = 16 * 1024;

/// One pass of a derivation. Its text is periodic, except the first block, which may begin with zeros, and
/// the last block, which ends with the padding.
pub(crate) struct Periodic<F: Family> {
    pub(crate) state: [F::Word; 8],
    /// Position of the next block in the period.
    pub(crate) at: usize,
    /// Number of periodic blocks still to compress.
    pub(crate) left: u64,
    period: usize,
    /// One or more whole periods.
    text: Zeroizing<Vec<u8>>,
    /// The schedules of one period, or empty before [`Self::expand`].
    schedules: Zeroizing<Vec<F::Word>>,
    tail: Zeroizing<Vec<u8>>,
    digest_len: usize,
}

impl<F: Family> Periodic<F> {
    /// Creates the pass with this `number`. Returns `None` if the text does not repeat often enough.
    pub(crate) fn new(s2k: &S2k<'_>, number: usize, initial: [F::Word; 8]) -> Option<Self> {
        let bytes = number as u64 + s2k.bytes_per_pass();
        let blocks = bytes / F::BLOCK as u64;
        let head = u64::from(number > 0);
        let left = blocks.checked_sub(head)?;
        let period = s2k.unit_len() / gcd(s2k.unit_len(), F::BLOCK);
        if !(1..=PERIOD_MAX).contains(&period) || left < REPEATS_MIN * period as u64 {
            return None;
        }
        let unit = s2k.unit();
        let text = Text {
            zeros: number,
            unit: &unit,
        };
        let mut state = initial;
        let first = text.range(0, F::BLOCK);
        F::compress(&mut state, &first[..F::BLOCK * usize::from(number > 0)]);
        let whole = period * F::BLOCK;
        let whole = whole * TEXT_BYTES.div_ceil(whole);
        let rest = usize::try_from(bytes % F::BLOCK as u64).ok()?;
        let mut tail = text.range(blocks * F::BLOCK as u64, rest);
        pad::<F>(&mut tail, bytes);
        Some(Self {
            state,
            at: 0,
            left,
            period,
            text: text.range(head * F::BLOCK as u64, whole),
            schedules: Zeroizing::default(),
            tail,
            digest_len: s2k.hash().digest_len(),
        })
    }

    /// Returns the number of blocks after which the text repeats.
    pub(crate) fn period(&self) -> usize {
        self.period
    }

    /// Computes the schedules of one period, if they do not exist yet.
    pub(crate) fn expand(&mut self) {
        if !self.schedules.is_empty() {
            return;
        }
        let mut schedules = Vec::with_capacity(self.period * F::ROUNDS);
        for block in self.text.chunks_exact(F::BLOCK).take(self.period) {
            let mut words = [F::Word::default(); 16];
            for (word, bytes) in words.iter_mut().zip(block.chunks_exact(F::Word::BYTES)) {
                *word = F::Word::from_bytes(bytes);
            }
            F::expand(&words, &mut schedules);
            words.zeroize();
        }
        self.schedules = Zeroizing::new(schedules);
    }

    /// Returns the schedules of one period, one after the other. The slice is empty before [`Self::expand`].
    pub(crate) fn schedules(&self) -> &[F::Word] {
        &self.schedules
    }

    /// Returns the state, mutable, and the schedules.
    pub(crate) fn parts(&mut self) -> (&mut [F::Word; 8], &[F::Word]) {
        (&mut self.state, &self.schedules)
    }

    /// Compresses this number of blocks, at most `left`, one after the other.
    pub(crate) fn compress(&mut self, blocks: usize) {
        let mut todo = blocks;
        while todo > 0 {
            let text = &self.text[self.at * F::BLOCK..];
            let take = todo.min(text.len() / F::BLOCK);
            F::compress(&mut self.state, &text[..take * F::BLOCK]);
            todo -= take;
            self.at = (self.at + take) % self.period;
        }
        self.left -= blocks as u64;
    }

    /// Records that blocks were compressed elsewhere.
    pub(crate) fn advanced(&mut self, blocks: usize) {
        self.at = (self.at + blocks) % self.period;
        self.left -= blocks as u64;
    }

    /// Returns the digest. No periodic blocks may be left.
    pub(crate) fn finish(mut self) -> Zeroizing<Vec<u8>> {
        debug_assert_eq!(self.left, 0, "periodic blocks are left");
        F::compress(&mut self.state, &self.tail);
        let mut digest = Zeroizing::new(Vec::with_capacity(F::BLOCK));
        for &word in &self.state {
            word.append_to(&mut digest);
        }
        digest.truncate(self.digest_len);
        digest
    }
}

impl<F: Family> Drop for Periodic<F> {
    fn drop(&mut self) {
        self.state.zeroize();
    }
}

/// The input of a pass: zeros, then the repeated unit.
struct Text<'a> {
    zeros: usize,
    unit: &'a [u8],
}

impl Text<'_> {
    /// Returns `bytes` bytes from `start` on. The vector has capacity for the padding.
    fn range(&self, start: u64, bytes: usize) -> Zeroizing<Vec<u8>> {
        // The capacity suffices, because a reallocation would leave a copy of the text in memory.
        let mut out = Vec::with_capacity(bytes + self.unit.len() + 4 * 64);
        let unit = self.unit.len() as u64;
        let phase = if start < self.zeros as u64 {
            out.resize(bytes.min(self.zeros), 0);
            0
        } else {
            (start - self.zeros as u64) % unit
        };
        let mut phase = usize::try_from(phase).expect("phase should be less than the unit");
        while out.len() < bytes {
            out.extend_from_slice(&self.unit[phase..]);
            phase = 0;
        }
        out.truncate(bytes);
        Zeroizing::new(out)
    }
}

/// Appends the padding (FIPS 180-4 section 5.1): a one bit, zeros, and the length in bits.
fn pad<F: Family>(tail: &mut Vec<u8>, bytes: u64) {
    tail.push(0x80);
    while tail.len() % F::BLOCK != F::BLOCK - F::LENGTH {
        tail.push(0);
    }
    // The upper half of a length of 16 bytes is zero.
    tail.resize(tail.len() + F::LENGTH - 8, 0);
    tail.extend_from_slice(&(8 * bytes).to_be_bytes());
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
