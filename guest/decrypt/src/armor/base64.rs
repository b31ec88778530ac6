//! A lenient base64 decoder. It skips white space, line ends, quotation marks of mail programs and everything outside
//! ASCII. The data ends at the first padding, dash or other character. Padding and the unused bits of the last character
//! are not checked.

/// Classes of characters. Values below 64 are those of digits.
const SKIP: u8 = 0x40;
const STOP: u8 = 0x80;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut class = [STOP; 256];
    let mut i = 0;
    while i < 256 {
        // Control characters, the space, and the bytes of a byte order mark, a no-break or a zero-width space.
        if i <= 0x20 || i >= 0x80 {
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
    class
}

/// Returns whether `c` is in the base64 alphabet.
pub(super) fn is_digit(c: u8) -> bool {
    CLASS[usize::from(c)] < 64
}

/// Returns whether a byte whose first digit is `c` has bit 7 set, as the first byte of every packet has (RFC 9580 section
/// 4.2).
pub(super) fn begins_packet(c: u8) -> bool {
    matches!(CLASS[usize::from(c)], 32..64)
}

/// Returns whether `c` is skipped inside data.
pub(super) fn is_skipped(c: u8) -> bool {
    CLASS[usize::from(c)] == SKIP
}

/// Decodes `text` up to the end of the data.
pub(super) fn decode(text: &[u8]) -> Vec<u8> {
    // The result is never longer, also if the last group is incomplete.
    let mut decoder = Decoder::with_capacity(text.len() / 4 * 3 + 4 + WIDE_BYTES);
    let mut rest = text;
    loop {
        if decoder.digits == 0 {
            rest = decoder.groups(rest);
        }
        let Some((&c, after)) = rest.split_first() else {
            break;
        };
        if !decoder.character(c) {
            break;
        }
        rest = after;
    }
    decoder.finish()
}

/// Maximum number of characters read per byte by [`decode_prefix`]. Some may be skipped ones, but a long run of white
/// space must not be read again at every position.
const PROBE_CHARACTERS_PER_BYTE: usize = 32;

/// Decodes like [`decode`], but stops after about `bytes` bytes.
pub(super) fn decode_prefix(text: &[u8], bytes: usize) -> Vec<u8> {
    let mut decoder = Decoder::with_capacity(bytes + 3);
    for &c in text.iter().take(bytes * PROBE_CHARACTERS_PER_BYTE) {
        if decoder.filled >= bytes || !decoder.character(c) {
            break;
        }
    }
    decoder.finish()
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

/// Number of bytes by which the buffer is extended at a time. In Wasm, appending each half line to a vector took 20 % more
/// time.
const STEP_BYTES: usize = 4096;

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
    /// Reserves `bytes` bytes, so that the buffer does not move until more are written.
    fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            filled: 0,
            bits: 0,
            digits: 0,
        }
    }

    /// Returns the next `N` bytes to write. They count once `filled` includes them.
    #[inline]
    fn next<const N: usize>(&mut self) -> &mut [u8; N] {
        let wanted = self.filled + N;
        if self.bytes.len() < wanted {
            let step = (self.filled + STEP_BYTES).min(self.bytes.capacity());
            self.bytes.resize(step.max(wanted), 0);
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

    /// Decodes groups of four digits up to the first other character, and returns the rest of the text. In real armor this
    /// is a line at a time.
    fn groups<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
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
        &text[taken..]
    }

    /// Adds the complete bytes of an incomplete last group, and returns all bytes.
    fn finish(mut self) -> Vec<u8> {
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
        self.bytes.truncate(self.filled);
        self.bytes
    }
}
