//! A lenient base64 decoder.
//!
//! It accepts both alphabets of RFC 4648, `+/` and `-_`. It skips white space, line ends, quotation marks of mail programs
//! and everything outside ASCII. The data ends at the first padding or other character. Padding and the unused bits of
//! the last character are not checked. [`stray_character`] finds characters that were skipped but do not belong there.

use super::Codec;
use crate::survey::PROBE_BYTES;

/// Classes of characters. Values below 64 are those of digits.
const SKIP: u8 = 0x40;
const STOP: u8 = 0x80;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut class = [STOP; 256];
    let mut i = 0;
    while i < 256 {
        // White space, and the bytes of a byte order mark, a no-break or a zero-width space.
        if matches!(i, 9..=13 | 32 | 0x80..) {
            class[i] = SKIP;
        }
        i += 1;
    }
    class[b'>' as usize] = SKIP;
    class[b'|' as usize] = SKIP;
    let mut value = 0;
    while value < 64 {
        class[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    class[b'-' as usize] = 62;
    class[b'_' as usize] = 63;
    class
}

/// Returns whether `c` is in the base64 alphabet.
pub(super) fn is_digit(c: u8) -> bool {
    CLASS[usize::from(c)] < 64
}

/// Returns the value of the digit `c`, or a value of at least 64.
pub(super) fn value(c: u8) -> u8 {
    CLASS[usize::from(c)]
}

/// Returns whether `c` is skipped inside data.
pub(super) fn is_skipped(c: u8) -> bool {
    CLASS[usize::from(c)] == SKIP
}

/// Returns the position of the first character in `text` that the decoder skips or accepts, but that does not belong into
/// base64 data: a character outside ASCII that is not a space, or a digit of the alphabet that the data does not use.
pub(super) fn stray_character(text: &[u8]) -> Option<usize> {
    let outside = || {
        let mut at = 0;
        text.utf8_chunks().find_map(|chunk| {
            let valid = chunk.valid();
            let stray = valid
                .char_indices()
                .find(|&(_, c)| !c.is_ascii() && !is_invisible(c))
                .map(|(offset, _)| at + offset);
            at += valid.len();
            let stray = stray.or((!chunk.invalid().is_empty()).then_some(at));
            at += chunk.invalid().len();
            stray
        })
    };
    let stray = if text.is_ascii() { None } else { outside() };
    let (usual, url) = (
        memchr::memchr2(b'+', b'/', text),
        memchr::memchr2(b'-', b'_', text),
    );
    // The first digit shows which alphabet the data uses.
    let mixed = usual.zip(url).map(|(usual, url)| usual.max(url));
    stray.into_iter().chain(mixed).min()
}

/// Returns whether `c` is a space or an invisible mark that programs insert.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Base64 data that is decoded as far as it is needed.
pub(super) struct Run<'a> {
    text: &'a [u8],
    /// Offset of the first character that has not been decoded.
    at: usize,
    ended: bool,
    decoder: Decoder,
}

impl<'a> Codec<'a> for Run<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            ended: false,
            decoder: Decoder::default(),
        }
    }

    fn fill(&mut self, bytes: usize) {
        while !self.ended && self.decoder.filled < bytes {
            if self.decoder.digits == 0 {
                // Four characters give three bytes.
                let enough = (bytes - self.decoder.filled).div_ceil(3).saturating_mul(4);
                let rest = &self.text[self.at..];
                self.at += self.decoder.groups(&rest[..rest.len().min(enough)]);
            }
            match self.text.get(self.at) {
                Some(&c) if self.decoder.character(c) => self.at += 1,
                _ => {
                    self.decoder.finish();
                    self.ended = true;
                }
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.decoder.bytes[..self.decoder.filled]
    }

    fn end(&self) -> Option<usize> {
        self.ended.then_some(self.at)
    }

    fn into_bytes(self, len: usize) -> Vec<u8> {
        let mut bytes = self.decoder.bytes;
        bytes.truncate(len);
        bytes
    }

    fn characters(text: &[u8], bytes: usize) -> usize {
        // As many characters as digits are missing cannot have too many digits.
        let mut missing = (bytes * 4).div_ceil(3);
        let mut at = 0;
        while missing > 0 && at < text.len() {
            let next = &text[at..text.len().min(at + missing)];
            missing -= next.iter().filter(|&&c| is_digit(c)).count();
            at += next.len();
        }
        at
    }

    fn encoded_bytes(text: &[u8]) -> usize {
        text.iter().filter(|&&c| is_digit(c)).count() / 4 * 3
    }
}

/// The first bytes of encoded data.
pub(super) struct Probe {
    bytes: [u8; PROBE_BYTES + 3],
    len: usize,
}

impl std::ops::Deref for Probe {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Maximum number of characters that a probe reads per byte. Some may be skipped ones, but a long run of white space must
/// not be read again at every position.
const PROBE_CHARACTERS_PER_BYTE: usize = 8;

/// Numbers of bytes that decide whether a probe reads on.
const PROBE_STEPS: [usize; 2] = [3, 6];

/// Decodes the first [`PROBE_BYTES`] bytes at the beginning of `text`, or fewer if the data ends. The probe is empty if the
/// first three or six bytes are not `wanted`, which is the case at most positions of a text.
pub(super) fn probe(text: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Probe {
    probe_with(text, SKIP, wanted)
}

/// Decodes like [`probe`], but reads each space as a plus sign.
pub(super) fn probe_spaces(text: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Probe {
    probe_with(text, value(b'+'), wanted)
}

/// Returns the bytes of the first four characters, if all of them are digits.
fn three_bytes_of(text: &[u8]) -> Option<[u8; 3]> {
    let three = three_bytes(*text.first_chunk()?);
    let [bytes @ .., _] = three.to_le_bytes();
    (three & NO_DIGIT == 0).then_some(bytes)
}

#[inline]
fn probe_with(text: &[u8], space: u8, wanted: impl Fn(&[u8]) -> bool) -> Probe {
    let mut probe = Probe {
        bytes: [0; PROBE_BYTES + 3],
        len: 0,
    };
    let text = &text[..text.len().min(PROBE_BYTES * PROBE_CHARACTERS_PER_BYTE)];
    let (mut at, mut bits, mut digits) = (0, 0_u32, 0);
    while probe.len < PROBE_BYTES && at < text.len() {
        if digits % 4 == 0
            && let Some(bytes) = three_bytes_of(&text[at..])
        {
            probe.bytes[probe.len..][..bytes.len()].copy_from_slice(&bytes);
            probe.len += bytes.len();
            at += 4;
        } else {
            let c = text[at];
            at += 1;
            match if c == b' ' { space } else { value(c) } {
                digit @ 0..64 => {
                    bits = bits << 6 | u32::from(digit);
                    digits += 1;
                }
                SKIP => continue,
                _ => break,
            }
            // The first digit of a group completes no byte, and each of the others completes one.
            if digits % 4 == 1 {
                continue;
            }
            let [.., byte] = (bits >> (2 * (3 - (digits + 3) % 4))).to_be_bytes();
            probe.bytes[probe.len] = byte;
            probe.len += 1;
        }
        if PROBE_STEPS.contains(&probe.len) && !wanted(&probe) {
            probe.len = 0;
            break;
        }
    }
    probe
}

/// Number of groups that are decoded together: half a line of most programs.
const WIDE: usize = 8;

/// Number of bytes written for these groups. The last one does not count.
const WIDE_BYTES: usize = 3 * WIDE + 1;

/// Marks a character in [`BYTES`] that is not a digit.
const NO_DIGIT: u32 = 1 << 24;

/// The contribution of each of the four characters of a group to its three bytes, in little-endian order.
static BYTES: [[u32; 256]; 4] = bytes();

const fn bytes() -> [[u32; 256]; 4] {
    let mut bytes = [[NO_DIGIT; 256]; 4];
    let mut c = 0;
    while c < 256 {
        let value = CLASS[c] as u32;
        if value < 64 {
            bytes[0][c] = value << 2;
            bytes[1][c] = value >> 4 | (value & 15) << 12;
            bytes[2][c] = (value >> 2) << 8 | (value & 3) << 22;
            bytes[3][c] = value << 16;
        }
        c += 1;
    }
    bytes
}

/// Returns the three bytes of a group in little-endian order, with [`NO_DIGIT`] set if a character is not a digit.
fn three_bytes(group: [u8; 4]) -> u32 {
    let [a, b, c, d] = group.map(usize::from);
    BYTES[0][a] | BYTES[1][b] | BYTES[2][c] | BYTES[3][d]
}

/// Maximum number of bytes by which the buffer is extended at a time. In Wasm, appending each half line to a vector took
/// 20 % more time.
const STEP_BYTES_MAX: usize = 4096;

#[derive(Default)]
struct Decoder {
    /// The decoded bytes, followed by zeros that will be overwritten.
    bytes: Vec<u8>,
    /// Number of decoded bytes.
    filled: usize,
    /// Bits of the current group of four digits.
    bits: u32,
    /// Digits in the current group.
    digits: u8,
}

impl Decoder {
    /// Returns the next `N` bytes to write. They count once `filled` includes them.
    #[inline]
    fn next<const N: usize>(&mut self) -> &mut [u8; N] {
        let wanted = self.filled + N;
        if self.bytes.len() < wanted {
            let step = self.filled.clamp(2 * WIDE_BYTES, STEP_BYTES_MAX);
            self.bytes.resize(self.filled + step, 0);
        }
        let next = self.bytes[self.filled..].first_chunk_mut();
        next.expect("the buffer was extended")
    }

    /// Decodes one character. Returns false if it ends the data.
    fn character(&mut self, c: u8) -> bool {
        match CLASS[usize::from(c)] {
            value @ 0..64 => {
                self.bits = self.bits << 6 | u32::from(value);
                self.digits += 1;
                if self.digits == 4 {
                    let [_, three @ ..] = self.bits.to_be_bytes();
                    *self.next() = three;
                    self.filled += three.len();
                    self.bits = 0;
                    self.digits = 0;
                }
                true
            }
            SKIP => true,
            _ => false,
        }
    }

    /// Decodes groups of four digits up to the first other character, and returns the number of their characters. In real
    /// armor this is a line at a time.
    fn groups(&mut self, text: &[u8]) -> usize {
        let (wide, _) = text.as_chunks::<{ 4 * WIDE }>();
        let mut taken = 0;
        // Several groups are checked together.
        for digits in wide {
            if !is_digit(digits[0]) {
                break;
            }
            let bytes = self.next::<WIDE_BYTES>();
            let (groups, _) = digits.as_chunks::<4>();
            let mut all = 0;
            for (group, at) in groups.iter().zip((0..).step_by(3)) {
                let three = three_bytes(*group);
                all |= three;
                // The next group overwrites the fourth byte.
                bytes[at..at + 4].copy_from_slice(&three.to_le_bytes());
            }
            if all & NO_DIGIT != 0 {
                break;
            }
            self.filled += 3 * WIDE;
            taken += digits.len();
        }
        let (groups, _) = text[taken..].as_chunks::<4>();
        for group in groups {
            let three = three_bytes(*group);
            if three & NO_DIGIT != 0 {
                break;
            }
            *self.next() = three.to_le_bytes();
            self.filled += 3;
            taken += group.len();
        }
        taken
    }

    /// Adds the complete bytes of an incomplete last group.
    fn finish(&mut self) {
        match self.digits {
            2 => {
                let [.., byte] = (self.bits >> 4).to_be_bytes();
                *self.next() = [byte];
                self.filled += 1;
            }
            3 => {
                let [.., high, low] = (self.bits >> 2).to_be_bytes();
                *self.next() = [high, low];
                self.filled += 2;
            }
            // A single digit is less than a byte.
            _ => {}
        }
        self.digits = 0;
    }
}
