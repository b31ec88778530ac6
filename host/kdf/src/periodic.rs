//! One pass over text that repeats, block by block.

use crate::family::{Family, Word};
use bulkhead_crypto::S2k;
use zeroize::{Zeroize as _, Zeroizing};

/// The longest period that is worked on as one, in blocks. Tables for lanes have 5 KiB a block: with
/// more they leave the second-level cache, and writing a column takes longer than a turn should.
pub(crate) const PERIOD_MAX: usize = 128;

/// So many times the text repeats at least, or its schedules would not pay.
const REPEATS_MIN: u64 = 8;

/// Text for the plain path is repeated to about this many octets, so that its calls do not count.
const TEXT_OCTETS: usize = 16 * 1024;

/// One pass of a derivation. Its text is periodic but for the first block, which may begin with
/// zeros, and the last, which ends with the padding.
pub(crate) struct Periodic<F: Family> {
    pub(crate) state: [F::Word; 8],
    /// The block that comes next, of the period.
    pub(crate) at: usize,
    /// Periodic blocks that are still to be compressed.
    pub(crate) left: u64,
    period: usize,
    /// Whole periods.
    text: Zeroizing<Vec<u8>>,
    /// Of one period, when first asked for.
    schedules: Zeroizing<Vec<F::Word>>,
    tail: Zeroizing<Vec<u8>>,
    digest_len: usize,
}

impl<F: Family> Periodic<F> {
    /// The pass of that `number`, or nothing where the text does not repeat often enough.
    pub(crate) fn new(s2k: &S2k<'_>, number: usize, initial: [F::Word; 8]) -> Option<Self> {
        let octets = number as u64 + s2k.bytes_per_pass();
        let blocks = octets / F::BLOCK as u64;
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
        let whole = whole * TEXT_OCTETS.div_ceil(whole);
        let rest = usize::try_from(octets % F::BLOCK as u64).ok()?;
        let mut tail = text.range(blocks * F::BLOCK as u64, rest);
        pad::<F>(&mut tail, octets);
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

    /// Blocks after which the text repeats.
    pub(crate) fn period(&self) -> usize {
        self.period
    }

    /// Computes the schedules of one period, unless they are there.
    pub(crate) fn expand(&mut self) {
        if !self.schedules.is_empty() {
            return;
        }
        let mut schedules = Vec::with_capacity(self.period * F::ROUNDS);
        for block in self.text.chunks_exact(F::BLOCK).take(self.period) {
            let mut words = [F::Word::default(); 16];
            for (word, octets) in words.iter_mut().zip(block.chunks_exact(F::Word::OCTETS)) {
                *word = F::Word::from_octets(octets);
            }
            F::expand(&words, &mut schedules);
            words.zeroize();
        }
        self.schedules = Zeroizing::new(schedules);
    }

    /// The schedules of one period, one after the other; none before [`Self::expand`].
    pub(crate) fn schedules(&self) -> &[F::Word] {
        &self.schedules
    }

    /// The same beside the state, which changes.
    pub(crate) fn parts(&mut self) -> (&mut [F::Word; 8], &[F::Word]) {
        (&mut self.state, &self.schedules)
    }

    /// Compresses so many blocks, at most those that are left, one after the other.
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

    /// Takes note of blocks that were compressed elsewhere.
    pub(crate) fn advanced(&mut self, blocks: usize) {
        self.at = (self.at + blocks) % self.period;
        self.left -= blocks as u64;
    }

    /// The digest, once nothing is left.
    pub(crate) fn finish(mut self) -> Zeroizing<Vec<u8>> {
        debug_assert_eq!(self.left, 0, "blocks are missing");
        F::compress(&mut self.state, &self.tail);
        let mut digest = Zeroizing::new(Vec::with_capacity(F::BLOCK));
        for &word in &self.state {
            word.to_octets(&mut digest);
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

/// What a pass hashes: zeros, then the unit again and again.
struct Text<'a> {
    zeros: usize,
    unit: &'a [u8],
}

impl Text<'_> {
    /// So many octets from `start` on, with room for the padding.
    fn range(&self, start: u64, octets: usize) -> Zeroizing<Vec<u8>> {
        // Never moved, or it would leave a copy.
        let mut out = Vec::with_capacity(octets + self.unit.len() + 4 * 64);
        let unit = self.unit.len() as u64;
        let phase = if start < self.zeros as u64 {
            out.resize(octets.min(self.zeros), 0);
            0
        } else {
            (start - self.zeros as u64) % unit
        };
        let mut phase = usize::try_from(phase).expect("less than the unit");
        while out.len() < octets {
            out.extend_from_slice(&self.unit[phase..]);
            phase = 0;
        }
        out.truncate(octets);
        Zeroizing::new(out)
    }
}

/// Padding (FIPS 180-4 section 5.1): a one, zeros, and the length in bits.
fn pad<F: Family>(tail: &mut Vec<u8>, octets: u64) {
    tail.push(0x80);
    while tail.len() % F::BLOCK != F::BLOCK - F::LENGTH {
        tail.push(0);
    }
    // Of a length in 16 octets, the upper half.
    tail.resize(tail.len() + F::LENGTH - 8, 0);
    tail.extend_from_slice(&(8 * octets).to_be_bytes());
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
