//! The rounds of the hashes, with the processor's instruction sets.
//!
//! This is the only module of the crate with unsafe code, for two reasons:
//!
//! - Functions that are compiled for an instruction set must not be called on processors without it. Each
//!   of them takes a proof that the processor has it. Only [`Processor::this`] creates these proofs, after
//!   it has detected the features.
//! - Vectors are loaded and stored through pointers. The pointers always come from references to arrays of
//!   the vector's size and alignment.

#![expect(
    unsafe_code,
    reason = "instruction sets are chosen at run time, and vectors are loaded through pointers"
)]
#![expect(
    clippy::inline_always,
    reason = "a function is compiled for the instruction set only if it is inlined into one that is"
)]

#[cfg(test)]
mod arrays;
mod lanes;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::family::{Family, Sha1, Sha256, Sha512};
pub(crate) use vector::Line;

/// The instruction sets of a processor that this crate uses.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Processor {
    pub(crate) sha_ni: Option<ShaNi>,
    pub(crate) avx512: Option<Avx512>,
    pub(crate) avx2: Option<Avx2>,
}

/// The content of a proof. On other architectures it is a type without values.
#[cfg(target_arch = "x86_64")]
type Evidence = ();
#[cfg(not(target_arch = "x86_64"))]
type Evidence = std::convert::Infallible;

/// A proof that the processor has SHA-1 and SHA-256 instructions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShaNi(Evidence);

/// A proof that the processor has vectors of 512 bits (AVX-512F).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(Evidence);

/// A proof that the processor has vectors of 256 bits (AVX2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(Evidence);

impl Processor {
    /// Detects the features of the current processor.
    pub(crate) fn this() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let sha_ni = is_x86_feature_detected!("sha")
                && is_x86_feature_detected!("ssse3")
                && is_x86_feature_detected!("sse4.1");
            Self {
                sha_ni: sha_ni.then_some(ShaNi(())),
                avx512: is_x86_feature_detected!("avx512f").then_some(Avx512(())),
                avx2: is_x86_feature_detected!("avx2").then_some(Avx2(())),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::default()
    }
}

/// Vectors that compress blocks of family `F`, with one stream per lane.
pub(crate) trait Lanes<F: Family>: Copy + Send + 'static {
    /// A word for each lane.
    type Line: Line<Word = F::Word>;

    /// Compresses `steps` blocks in all lanes, beginning at `row` of the table (see [`lanes`]). Panics if
    /// the table has no such row.
    fn run(self, state: &mut [Self::Line; 8], table: &[Self::Line], row: usize, steps: usize);
}

/// A stream for the SHA instructions: its state, the schedules of a period, and the position of the next one.
pub(crate) struct Stream<'a> {
    pub(crate) state: &'a mut [u32; 8],
    pub(crate) schedules: &'a [u32],
    pub(crate) at: usize,
}

/// A family for which the processor has instructions.
pub(crate) trait Few: Family<Word = u32> {
    /// Compresses `steps` blocks of one or two streams. The instructions are interleaved, so that one
    /// stream computes while the other waits for results.
    fn run<const N: usize>(proof: ShaNi, streams: [Stream<'_>; N], steps: usize);
}

/// Implements [`Lanes`] for an instruction set and a family, with a vector type and the function for the
/// rounds.
#[cfg(target_arch = "x86_64")]
macro_rules! lanes {
    ($token:ident, $vector:ident, $line:ident, $family:ident, $rounds:ident, $feature:literal) => {
        impl Lanes<$family> for $token {
            type Line = $line;

            fn run(self, state: &mut [$line; 8], table: &[$line], row: usize, steps: usize) {
                #[target_feature(enable = $feature)]
                fn rounds(state: &mut [$line; 8], table: &[$line], row: usize, steps: usize) {
                    lanes::$rounds::<$vector>(state, table, row, steps);
                }
                // SAFETY: `self` proves that the processor has the instruction set.
                unsafe { rounds(state, table, row, steps) }
            }
        }
    };
}

#[cfg(test)]
mod with_arrays {
    use super::arrays::{Array32, Array64};
    use super::vector::{Line2x64, Line4x32};
    use super::{Lanes, Sha1, Sha256, Sha512, lanes};

    /// The lanes for tests. They need no proof, because every processor supports arrays.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Arrays;

    macro_rules! arrays {
        ($vector:ident, $line:ident, $family:ident, $rounds:ident) => {
            impl Lanes<$family> for Arrays {
                type Line = $line;

                fn run(self, state: &mut [$line; 8], table: &[$line], row: usize, steps: usize) {
                    lanes::$rounds::<$vector>(state, table, row, steps);
                }
            }
        };
    }
    arrays!(Array32, Line4x32, Sha1, sha1);
    arrays!(Array32, Line4x32, Sha256, sha256);
    arrays!(Array64, Line2x64, Sha512, sha512);
}
#[cfg(test)]
pub(crate) use with_arrays::Arrays;

#[cfg(target_arch = "x86_64")]
mod with_vectors {
    use super::vector::{Line4x64, Line8x32, Line8x64, Line16x32};
    use super::x86::{Ymm32, Ymm64, Zmm32, Zmm64};
    use super::{Avx2, Avx512, Lanes, Sha1, Sha256, Sha512, lanes};

    lanes!(Avx512, Zmm32, Line16x32, Sha1, sha1, "avx512f");
    lanes!(Avx512, Zmm32, Line16x32, Sha256, sha256, "avx512f");
    lanes!(Avx512, Zmm64, Line8x64, Sha512, sha512, "avx512f");
    lanes!(Avx2, Ymm32, Line8x32, Sha1, sha1, "avx2");
    lanes!(Avx2, Ymm32, Line8x32, Sha256, sha256, "avx2");
    lanes!(Avx2, Ymm64, Line4x64, Sha512, sha512, "avx2");
}

#[cfg(not(target_arch = "x86_64"))]
mod without_vectors {
    use super::vector::{Line2x64, Line4x32};
    use super::{Avx2, Avx512, Few, Lanes, Sha1, Sha256, Sha512, ShaNi, Stream};

    macro_rules! never {
        ($token:ident, $family:ident, $line:ident) => {
            impl Lanes<$family> for $token {
                type Line = $line;

                fn run(self, _: &mut [$line; 8], _: &[$line], _: usize, _: usize) {
                    match self.0 {}
                }
            }
        };
    }
    never!(Avx512, Sha1, Line4x32);
    never!(Avx512, Sha256, Line4x32);
    never!(Avx512, Sha512, Line2x64);
    never!(Avx2, Sha1, Line4x32);
    never!(Avx2, Sha256, Line4x32);
    never!(Avx2, Sha512, Line2x64);

    impl Few for Sha1 {
        fn run<const N: usize>(proof: ShaNi, _: [Stream<'_>; N], _: usize) {
            match proof.0 {}
        }
    }
    impl Few for Sha256 {
        fn run<const N: usize>(proof: ShaNi, _: [Stream<'_>; N], _: usize) {
            match proof.0 {}
        }
    }
}
