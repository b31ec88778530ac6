//! Vectors of AVX-512 and AVX2.
//!
//! SAFETY of all blocks here: the intrinsics require that the processor has the instruction set. A vector
//! is created only by its own functions. These are called only from functions that are compiled for the
//! instruction set and take a proof of it (`lanes!` in `kernel.rs`). Loads and stores use references to
//! arrays of the vector's size, and the `Line` types have its alignment.

use super::vector::{Line4x64, Line8x32, Line8x64, Line16x32, Vector};
use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_add_epi64, _mm256_and_si256, _mm256_andnot_si256,
    _mm256_load_si256, _mm256_or_si256, _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_sllv_epi32,
    _mm256_sllv_epi64, _mm256_srlv_epi32, _mm256_srlv_epi64, _mm256_store_si256, _mm256_xor_si256,
    _mm512_add_epi32, _mm512_add_epi64, _mm512_load_si512, _mm512_rolv_epi32, _mm512_rolv_epi64,
    _mm512_set1_epi32, _mm512_set1_epi64, _mm512_store_si512, _mm512_ternarylogic_epi32,
};

macro_rules! avx512 {
    ($name:ident, $line:ident, $bits:literal, $add:ident, $rotate:ident, $splat:ident) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name(__m512i);

        impl Vector for $name {
            type Line = $line;
            const BITS: u32 = $bits;

            #[inline(always)]
            fn load(line: &$line) -> Self {
                Self(unsafe { _mm512_load_si512(line.0.as_ptr().cast()) })
            }
            #[inline(always)]
            fn store(self, line: &mut $line) {
                unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), self.0) }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Self(unsafe { $add(self.0, other.0) })
            }
            #[inline(always)]
            fn rotate_left(self, by: u32) -> Self {
                Self(unsafe { $rotate(self.0, $splat(by.cast_signed().into())) })
            }
            #[inline(always)]
            fn choose(self, yes: Self, no: Self) -> Self {
                Self(unsafe { _mm512_ternarylogic_epi32::<0xca>(self.0, yes.0, no.0) })
            }
            #[inline(always)]
            fn majority(self, b: Self, c: Self) -> Self {
                Self(unsafe { _mm512_ternarylogic_epi32::<0xe8>(self.0, b.0, c.0) })
            }
            #[inline(always)]
            fn parity(self, b: Self, c: Self) -> Self {
                Self(unsafe { _mm512_ternarylogic_epi32::<0x96>(self.0, b.0, c.0) })
            }
        }
    };
}
avx512!(
    Zmm32,
    Line16x32,
    32,
    _mm512_add_epi32,
    _mm512_rolv_epi32,
    _mm512_set1_epi32
);
avx512!(
    Zmm64,
    Line8x64,
    64,
    _mm512_add_epi64,
    _mm512_rolv_epi64,
    _mm512_set1_epi64
);

macro_rules! avx2 {
    ($name:ident, $line:ident, $bits:literal, $add:ident, $left:ident, $right:ident, $splat:ident) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name(__m256i);

        impl Vector for $name {
            type Line = $line;
            const BITS: u32 = $bits;

            #[inline(always)]
            fn load(line: &$line) -> Self {
                Self(unsafe { _mm256_load_si256(line.0.as_ptr().cast()) })
            }
            #[inline(always)]
            fn store(self, line: &mut $line) {
                unsafe { _mm256_store_si256(line.0.as_mut_ptr().cast(), self.0) }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Self(unsafe { $add(self.0, other.0) })
            }
            #[inline(always)]
            fn rotate_left(self, by: u32) -> Self {
                Self(unsafe {
                    _mm256_or_si256(
                        $left(self.0, $splat(by.cast_signed().into())),
                        $right(self.0, $splat(($bits - by).cast_signed().into())),
                    )
                })
            }
            #[inline(always)]
            fn choose(self, yes: Self, no: Self) -> Self {
                Self(unsafe {
                    _mm256_or_si256(
                        _mm256_and_si256(self.0, yes.0),
                        _mm256_andnot_si256(self.0, no.0),
                    )
                })
            }
            #[inline(always)]
            fn majority(self, b: Self, c: Self) -> Self {
                Self(unsafe {
                    _mm256_or_si256(
                        _mm256_and_si256(self.0, b.0),
                        _mm256_and_si256(c.0, _mm256_or_si256(self.0, b.0)),
                    )
                })
            }
            #[inline(always)]
            fn parity(self, b: Self, c: Self) -> Self {
                Self(unsafe { _mm256_xor_si256(self.0, _mm256_xor_si256(b.0, c.0)) })
            }
        }
    };
}
avx2!(
    Ymm32,
    Line8x32,
    32,
    _mm256_add_epi32,
    _mm256_sllv_epi32,
    _mm256_srlv_epi32,
    _mm256_set1_epi32
);
avx2!(
    Ymm64,
    Line4x64,
    64,
    _mm256_add_epi64,
    _mm256_sllv_epi64,
    _mm256_srlv_epi64,
    _mm256_set1_epi64x
);
