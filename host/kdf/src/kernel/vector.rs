//! Vectors of words, with one stream per lane: the trait that each instruction set implements.

/// The vector operations that the rounds need. Additions wrap around.
///
/// The vectors of an instruction set may only be used if the processor has it: see [`super::Processor`].
pub(super) trait Vector: Copy {
    /// The representation in memory, with a word for each lane.
    type Line: Line;
    /// Number of bits of a word.
    const BITS: u32;

    fn load(line: &Self::Line) -> Self;
    fn store(self, line: &mut Self::Line);
    fn add(self, other: Self) -> Self;
    fn rotate_left(self, by: u32) -> Self;
    /// Returns, for each bit, that of `yes` if the bit of `self` is 1, and that of `no` otherwise.
    fn choose(self, yes: Self, no: Self) -> Self;
    /// Returns, for each bit, the value that at least two of the three vectors have.
    fn majority(self, b: Self, c: Self) -> Self;
    /// Returns, for each bit, 1 if an odd number of the three vectors have a 1.
    fn parity(self, b: Self, c: Self) -> Self;
}

/// A vector in memory.
pub(crate) trait Line: Copy + Default + Send + 'static {
    type Word: Copy;
    fn words(&self) -> &[Self::Word];
    fn words_mut(&mut self) -> &mut [Self::Word];
}

macro_rules! line {
    ($name:ident, $word:ty, $lanes:literal, $align:literal) => {
        #[doc = concat!(stringify!($lanes), " words of ", stringify!($word), ".")]
        #[derive(Clone, Copy, Default)]
        #[repr(C, align($align))]
        pub(crate) struct $name(pub(in crate::kernel) [$word; $lanes]);

        impl Line for $name {
            type Word = $word;
            fn words(&self) -> &[$word] {
                &self.0
            }
            fn words_mut(&mut self) -> &mut [$word] {
                &mut self.0
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod of_x86 {
    use super::Line;
    line!(Line16x32, u32, 16, 64);
    line!(Line8x32, u32, 8, 32);
    line!(Line8x64, u64, 8, 64);
    line!(Line4x64, u64, 4, 32);
}
#[cfg(target_arch = "x86_64")]
pub(super) use of_x86::{Line4x64, Line8x32, Line8x64, Line16x32};
#[cfg(any(test, not(target_arch = "x86_64")))]
line!(Line4x32, u32, 4, 16);
#[cfg(any(test, not(target_arch = "x86_64")))]
line!(Line2x64, u64, 2, 16);
