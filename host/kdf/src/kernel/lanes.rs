//! Compression of periodic text in the lanes of vectors, with one stream per lane.
//!
//! The streams have the same period: their text repeats after the same number of blocks. Therefore the
//! message schedules of all their blocks are computed once, in a table with a row for each block and a
//! column for each stream. This module computes only the rounds.

use super::vector::Vector;

/// Compresses `steps` blocks in each lane with SHA-1 (FIPS 180-4 section 6.1.2), beginning at `row` of the
/// table and wrapping around at its end. A row has 80 vectors, which are the schedule plus the round
/// constants. The first five vectors of the state are used.
#[inline(always)]
pub(super) fn sha1<V: Vector>(
    state: &mut [V::Line; 8],
    table: &[V::Line],
    mut row: usize,
    steps: usize,
) {
    let (rows, _) = table.as_chunks::<80>();
    let [h0, h1, h2, h3, h4, ..] = state;
    let (mut h0, mut h1, mut h2) = (V::load(h0), V::load(h1), V::load(h2));
    let (mut h3, mut h4) = (V::load(h3), V::load(h4));
    for _ in 0..steps {
        let words = &rows[row];
        let (mut a, mut b, mut c, mut d, mut e) = (h0, h1, h2, h3, h4);
        macro_rules! round {
            ($a:ident $b:ident $c:ident $d:ident $e:ident, $f:ident, $at:expr) => {
                $e = $e
                    .add(V::load(&words[$at]))
                    .add(V::$f($b, $c, $d))
                    .add($a.rotate_left(5));
                $b = $b.rotate_left(30);
            };
        }
        macro_rules! twenty {
            ($f:ident, $from:expr) => {
                for five in 0..4 {
                    let at = $from + 5 * five;
                    round!(a b c d e, $f, at);
                    round!(e a b c d, $f, at + 1);
                    round!(d e a b c, $f, at + 2);
                    round!(c d e a b, $f, at + 3);
                    round!(b c d e a, $f, at + 4);
                }
            };
        }
        twenty!(choose, 0);
        twenty!(parity, 20);
        twenty!(majority, 40);
        twenty!(parity, 60);
        h0 = h0.add(a);
        h1 = h1.add(b);
        h2 = h2.add(c);
        h3 = h3.add(d);
        h4 = h4.add(e);
        row += 1;
        if row == rows.len() {
            row = 0;
        }
    }
    for (line, vector) in state.iter_mut().zip([h0, h1, h2, h3, h4]) {
        vector.store(line);
    }
}

/// The rotations of the SHA-2 functions Σ0 and Σ1.
struct Rotations([u32; 3], [u32; 3]);

/// Compresses with SHA-256 (FIPS 180-4 sections 4.1.2 and 6.2.2), like [`sha1()`], with 64 vectors per row.
#[inline(always)]
pub(super) fn sha256<V: Vector>(
    state: &mut [V::Line; 8],
    table: &[V::Line],
    row: usize,
    steps: usize,
) {
    const ROTATIONS: Rotations = Rotations([2, 13, 22], [6, 11, 25]);
    sha2::<V, 64>(&ROTATIONS, state, table, row, steps);
}

/// Compresses with SHA-512 (FIPS 180-4 sections 4.1.3 and 6.4.2), like [`sha1()`], with 80 vectors per row.
#[inline(always)]
pub(super) fn sha512<V: Vector>(
    state: &mut [V::Line; 8],
    table: &[V::Line],
    row: usize,
    steps: usize,
) {
    const ROTATIONS: Rotations = Rotations([28, 34, 39], [14, 18, 41]);
    sha2::<V, 80>(&ROTATIONS, state, table, row, steps);
}

#[inline(always)]
fn sha2<V: Vector, const ROUNDS: usize>(
    rotations: &Rotations,
    state: &mut [V::Line; 8],
    table: &[V::Line],
    mut row: usize,
    steps: usize,
) {
    let (rows, _) = table.as_chunks::<ROUNDS>();
    let Rotations(sigma0, sigma1) = rotations;
    let [h0, h1, h2, h3, h4, h5, h6, h7] = state;
    let mut h = [
        V::load(h0),
        V::load(h1),
        V::load(h2),
        V::load(h3),
        V::load(h4),
        V::load(h5),
        V::load(h6),
        V::load(h7),
    ];
    for _ in 0..steps {
        let words = &rows[row];
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut i] = h;
        macro_rules! round {
            ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $at:expr) => {
                let t = $h
                    .add(V::load(&words[$at]))
                    .add(V::choose($e, $f, $g))
                    .add(sigma($e, sigma1));
                $d = $d.add(t);
                $h = t.add(V::majority($a, $b, $c)).add(sigma($a, sigma0));
            };
        }
        for eight in 0..ROUNDS / 8 {
            let at = 8 * eight;
            round!(a b c d e f g i, at);
            round!(i a b c d e f g, at + 1);
            round!(g i a b c d e f, at + 2);
            round!(f g i a b c d e, at + 3);
            round!(e f g i a b c d, at + 4);
            round!(d e f g i a b c, at + 5);
            round!(c d e f g i a b, at + 6);
            round!(b c d e f g i a, at + 7);
        }
        for (sum, word) in h.iter_mut().zip([a, b, c, d, e, f, g, i]) {
            *sum = sum.add(word);
        }
        row += 1;
        if row == rows.len() {
            row = 0;
        }
    }
    for (line, vector) in state.iter_mut().zip(h) {
        vector.store(line);
    }
}

#[inline(always)]
fn sigma<V: Vector>(word: V, [x, y, z]: &[u32; 3]) -> V {
    V::parity(
        word.rotate_left(V::BITS - x),
        word.rotate_left(V::BITS - y),
        word.rotate_left(V::BITS - z),
    )
}
