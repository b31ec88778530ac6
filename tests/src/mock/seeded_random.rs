//! Random draws that depend only on a seed and on the event, and not on the order of threads.

use sha2::{Digest as _, Sha256};

/// The draws for one event, which a text and a number identify.
pub(crate) struct SeededRandom {
    state: Sha256,
    draws: u64,
}

impl SeededRandom {
    pub(crate) fn of(seed: u64, text: &[u8], number: u64) -> Self {
        let state = Sha256::new()
            .chain_update(seed.to_be_bytes())
            .chain_update(number.to_be_bytes())
            .chain_update(text);
        Self { state, draws: 0 }
    }

    /// Returns a number from 0 to less than 1, evenly distributed.
    pub(crate) fn draw(&mut self) -> f64 {
        self.draws += 1;
        let hash = self.state.clone().chain_update(self.draws.to_be_bytes());
        let hash = hash.finalize();
        let four = [hash[0], hash[1], hash[2], hash[3]];
        f64::from(u32::from_be_bytes(four)) / (f64::from(u32::MAX) + 1.0)
    }

    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        self.draw() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_only_on_seed_text_and_number() {
        let draw = |seed, text: &[u8], number| SeededRandom::of(seed, text, number).draw();
        assert_eq!(draw(1, b"a", 0).to_bits(), draw(1, b"a", 0).to_bits());
        let others = [draw(2, b"a", 0), draw(1, b"b", 0), draw(1, b"a", 1)];
        for other in others {
            assert_ne!(draw(1, b"a", 0).to_bits(), other.to_bits());
        }
        let mut random = SeededRandom::of(7, b"", 0);
        let draws: Vec<_> = (0..10_000).map(|_| random.draw()).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f64>() / 10_000.0;
        // The bound is five standard deviations.
        assert!((mean - 0.5).abs() < 0.0145, "{mean}");
    }
}
