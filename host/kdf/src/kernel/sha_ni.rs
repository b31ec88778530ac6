//! The SHA instructions. Each of them computes four rounds of SHA-1 or two of SHA-256.
//!
//! There are also instructions for message schedules, but these take as long as the rounds. They are not
//! needed here, because the text repeats and its schedules are computed in advance.

use super::{Few, ShaNi, Stream};
use crate::family::{Sha1, Sha256};
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_extract_epi32, _mm_loadl_epi64, _mm_loadu_si128, _mm_set_epi32,
    _mm_setzero_si128, _mm_sha1nexte_epu32, _mm_sha1rnds4_epu32, _mm_sha256rnds2_epu32,
};

impl Few for Sha1 {
    fn run<const N: usize>(_proof: ShaNi, streams: [Stream<'_>; N], steps: usize) {
        // SAFETY: `_proof` shows that the processor has the instructions.
        unsafe { sha1(streams, steps) }
    }
}

impl Few for Sha256 {
    fn run<const N: usize>(_proof: ShaNi, streams: [Stream<'_>; N], steps: usize) {
        // SAFETY: `_proof` shows that the processor has the instructions.
        unsafe { sha256(streams, steps) }
    }
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn sha1<const N: usize>(mut streams: [Stream<'_>; N], steps: usize) {
    let schedules: [&[[u32; 80]]; N] = std::array::from_fn(|i| streams[i].schedules.as_chunks().0);
    let mut abcd = [_mm_setzero_si128(); N];
    let mut e = abcd;
    for (i, stream) in streams.iter().enumerate() {
        let [a, b, c, d, e_word, ..] = *stream.state;
        abcd[i] = vector([a, b, c, d]);
        e[i] = vector([e_word, 0, 0, 0]);
    }
    for _ in 0..steps {
        let words: [&[u32; 80]; N] = std::array::from_fn(|i| &schedules[i][streams[i].at]);
        let (abcd_before, e_before) = (abcd, e);
        let mut e_next = e;
        // The first E is added without a rotation, which `nexte` would perform.
        for i in 0..N {
            e_next[i] = _mm_add_epi32(e[i], four(words[i], 0));
        }
        for i in 0..N {
            e[i] = abcd[i];
            abcd[i] = _mm_sha1rnds4_epu32::<0>(abcd[i], e_next[i]);
        }
        macro_rules! rounds {
            ($f:literal, $($quarter:literal)*) => { $(
                for i in 0..N {
                    e_next[i] = _mm_sha1nexte_epu32(e[i], four(words[i], $quarter));
                }
                for i in 0..N {
                    e[i] = abcd[i];
                    abcd[i] = _mm_sha1rnds4_epu32::<$f>(abcd[i], e_next[i]);
                }
            )* };
        }
        rounds!(0, 1 2 3 4);
        rounds!(1, 5 6 7 8 9);
        rounds!(2, 10 11 12 13 14);
        rounds!(3, 15 16 17 18 19);
        for i in 0..N {
            e[i] = _mm_sha1nexte_epu32(e[i], e_before[i]);
            abcd[i] = _mm_add_epi32(abcd[i], abcd_before[i]);
            streams[i].next(schedules[i].len());
        }
    }
    for (i, stream) in streams.iter_mut().enumerate() {
        stream.state[..4].copy_from_slice(&words(abcd[i]));
        stream.state[4] = words(e[i])[0];
    }
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn sha256<const N: usize>(mut streams: [Stream<'_>; N], steps: usize) {
    let schedules: [&[[u32; 64]]; N] = std::array::from_fn(|i| streams[i].schedules.as_chunks().0);
    let mut abef = [_mm_setzero_si128(); N];
    let mut cdgh = abef;
    for (i, stream) in streams.iter().enumerate() {
        let [a, b, c, d, e, f, g, h] = *stream.state;
        abef[i] = vector([a, b, e, f]);
        cdgh[i] = vector([c, d, g, h]);
    }
    for _ in 0..steps {
        let words: [&[u32; 64]; N] = std::array::from_fn(|i| &schedules[i][streams[i].at]);
        let (abef_before, cdgh_before) = (abef, cdgh);
        for quarter in 0..16 {
            for i in 0..N {
                cdgh[i] = _mm_sha256rnds2_epu32(cdgh[i], abef[i], two(words[i], 2 * quarter));
            }
            for i in 0..N {
                abef[i] = _mm_sha256rnds2_epu32(abef[i], cdgh[i], two(words[i], 2 * quarter + 1));
            }
        }
        for i in 0..N {
            abef[i] = _mm_add_epi32(abef[i], abef_before[i]);
            cdgh[i] = _mm_add_epi32(cdgh[i], cdgh_before[i]);
            streams[i].next(schedules[i].len());
        }
    }
    for (i, stream) in streams.iter_mut().enumerate() {
        let ([a, b, e, f], [c, d, g, h]) = (words(abef[i]), words(cdgh[i]));
        *stream.state = [a, b, c, d, e, f, g, h];
    }
}

impl Stream<'_> {
    #[inline(always)]
    fn next(&mut self, period: usize) {
        self.at += 1;
        if self.at == period {
            self.at = 0;
        }
    }
}

/// Returns a vector with the first word in the most significant position.
#[target_feature(enable = "sse4.1")]
#[expect(
    clippy::cast_possible_wrap,
    reason = "the intrinsics take any 32 bits as i32"
)]
fn vector([a, b, c, d]: [u32; 4]) -> __m128i {
    _mm_set_epi32(a as i32, b as i32, c as i32, d as i32)
}

#[target_feature(enable = "sse4.1")]
#[expect(
    clippy::cast_sign_loss,
    reason = "the intrinsics give any 32 bits as i32"
)]
fn words(vector: __m128i) -> [u32; 4] {
    [
        _mm_extract_epi32::<3>(vector) as u32,
        _mm_extract_epi32::<2>(vector) as u32,
        _mm_extract_epi32::<1>(vector) as u32,
        _mm_extract_epi32::<0>(vector) as u32,
    ]
}

/// Loads four words of a schedule.
#[inline]
#[target_feature(enable = "sse4.1")]
fn four(words: &[u32; 80], quarter: usize) -> __m128i {
    let four: &[u32; 4] = &words.as_chunks().0[quarter];
    // SAFETY: the pointer comes from a reference to 16 bytes, and the load needs no alignment.
    unsafe { _mm_loadu_si128(four.as_ptr().cast()) }
}

/// Loads two words of a schedule, for two rounds.
#[inline]
#[target_feature(enable = "sse4.1")]
fn two(words: &[u32; 64], pair: usize) -> __m128i {
    let two: &[u32; 2] = &words.as_chunks().0[pair];
    // SAFETY: the pointer comes from a reference to 8 bytes, and the load needs no alignment.
    unsafe { _mm_loadl_epi64(two.as_ptr().cast()) }
}
