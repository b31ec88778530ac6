//! Vectors for tests, implemented with arrays. They run on any processor and under Miri, but are not faster
//! than one stream after the other.

use super::vector::{Line2x64, Line4x32, Vector};

macro_rules! array {
    ($name:ident, $line:ident, $bits:literal, $lanes:literal, $word:ty) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name([$word; $lanes]);

        impl Vector for $name {
            type Line = $line;
            const BITS: u32 = $bits;

            #[inline(always)]
            fn load(line: &$line) -> Self {
                Self(line.0)
            }
            #[inline(always)]
            fn store(self, line: &mut $line) {
                line.0 = self.0;
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i].wrapping_add(other.0[i])))
            }
            #[inline(always)]
            fn rotate_left(self, by: u32) -> Self {
                Self(self.0.map(|word| word.rotate_left(by)))
            }
            #[inline(always)]
            fn choose(self, yes: Self, no: Self) -> Self {
                Self(std::array::from_fn(|i| {
                    (self.0[i] & yes.0[i]) | (!self.0[i] & no.0[i])
                }))
            }
            #[inline(always)]
            fn majority(self, b: Self, c: Self) -> Self {
                Self(std::array::from_fn(|i| {
                    (self.0[i] & b.0[i]) | (c.0[i] & (self.0[i] | b.0[i]))
                }))
            }
            #[inline(always)]
            fn parity(self, b: Self, c: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i] ^ b.0[i] ^ c.0[i]))
            }
        }
    };
}
array!(Array32, Line4x32, 32, 4, u32);
array!(Array64, Line2x64, 64, 2, u64);
