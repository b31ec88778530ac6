//! Base64 that reads on where decoders made for clean input stop: blanks, line ends, quote marks
//! and anything outside ASCII are passed over; the first padding, dash or other character ends the
//! data. Neither padding nor the unused bits of the last character are checked.

/// Classes of characters; below 64 it is the digit's value.
const SKIP: u8 = 0x40;
const STOP: u8 = 0x80;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut class = [STOP; 256];
    let mut i = 0;
    while i < 256 {
        // Controls and blank; bytes of a byte order mark, a no-break or zero-width space.
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

/// Whether `c` is of the base64 alphabet.
pub(super) fn is_digit(c: u8) -> bool {
    CLASS[usize::from(c)] < 64
}

/// Whether the byte that begins with digit `c` has bit 7 set, as the first one of every packet
/// (RFC 9580 section 4.2).
pub(super) fn begins_packet(c: u8) -> bool {
    matches!(CLASS[usize::from(c)], 32..64)
}

/// Whether `c` is passed over inside data.
pub(super) fn is_skipped(c: u8) -> bool {
    CLASS[usize::from(c)] == SKIP
}

/// Decodes from the start of `text` until something ends the data.
pub(super) fn decode(text: &[u8]) -> Vec<u8> {
    // Never more than that, also where the last group is short.
    let mut decoder = Decoder::with_room_for(text.len() / 4 * 3 + 4 + WIDE_ROOM);
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

/// Characters looked at for each byte of a probe: quote marks and line ends may be among them, but a
/// sea of blanks is not walked through at every position.
const PROBE_CHARACTERS_PER_BYTE: usize = 32;

/// As [`decode`], but not more than about `bytes` bytes.
pub(super) fn decode_prefix(text: &[u8], bytes: usize) -> Vec<u8> {
    let mut decoder = Decoder::with_room_for(bytes + 3);
    for &c in text.iter().take(bytes * PROBE_CHARACTERS_PER_BYTE) {
        if decoder.filled >= bytes || !decoder.character(c) {
            break;
        }
    }
    decoder.finish()
}

/// Groups that are decoded at a time: half a line, as most programs break lines.
const WIDE: usize = 8;

/// Bytes that are written for them, the last of which does not count.
const WIDE_ROOM: usize = 3 * WIDE + 1;

/// In [`BYTES`]: not a digit.
const NO_DIGIT: u32 = 1 << 24;

/// What each of the four characters of a group gives of its three bytes, the first one lowest.
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

/// The bytes of a group, the first one lowest; with [`NO_DIGIT`] where there are other characters.
fn three_bytes(group: [u8; 4]) -> u32 {
    let [a, b, c, d] = group.map(usize::from);
    BYTES[0][a] | BYTES[1][b] | BYTES[2][c] | BYTES[3][d]
}

/// Bytes by which the end of what is decoded is moved on, so that it is seldom done: in Wasm it took
/// a fifth more time to append to a vector what each half of a line gives.
const STEP_BYTES: usize = 4096;

struct Decoder {
    /// What is decoded, and zeros behind it to be written over.
    bytes: Vec<u8>,
    filled: usize,
    /// Bits of the current group of four digits.
    bits: u32,
    /// Digits in the current group.
    digits: u8,
}

impl Decoder {
    /// Will not move until more than `bytes` are written.
    fn with_room_for(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            filled: 0,
            bits: 0,
            digits: 0,
        }
    }

    /// The next `N` bytes to write. They do not count before `filled` says so.
    #[inline]
    fn next<const N: usize>(&mut self) -> &mut [u8; N] {
        let wanted = self.filled + N;
        if self.bytes.len() < wanted {
            let step = (self.filled + STEP_BYTES).min(self.bytes.capacity());
            self.bytes.resize(step.max(wanted), 0);
        }
        let next = self.bytes[self.filled..].first_chunk_mut();
        next.expect("there is room by now")
    }

    /// Takes one character; false if it ends the data.
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

    /// Takes whole groups of four digits as long as nothing else comes between, which in real
    /// armor is a line at a time.
    fn groups<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let (wide, _) = text.as_chunks::<{ 4 * WIDE }>();
        let mut taken = 0;
        // Several groups at a time, so that what is asked once for each is asked seldom.
        for digits in wide {
            if !is_digit(digits[0]) {
                break;
            }
            let bytes = self.next::<WIDE_ROOM>();
            let (groups, _) = digits.as_chunks::<4>();
            let mut all = 0;
            for (group, at) in groups.iter().zip((0..).step_by(3)) {
                let three = three_bytes(*group);
                all |= three;
                // A fourth byte is written over by the next group.
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

    /// Whole bytes of a last group that is short.
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
            // One digit alone is not a byte.
            _ => {}
        }
        self.bytes.truncate(self.filled);
        self.bytes
    }
}
