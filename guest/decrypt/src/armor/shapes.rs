//! Messages in the shapes in which people send them: every transformation alone, and all ordered pairs of them.

mod transforms;

use super::{Found, find};
use crate::survey::structure;
pub(super) use transforms::prose;
use transforms::{TRANSFORMS, Text, Transform};

/// Number of trials over all pairs. `BULKHEAD_TEST_SOAK` takes ten times as many.
const TRIALS: usize = 20_000;

/// A generator of pseudorandom numbers (`SplitMix64`). Each trial has its own seed, which a failure names.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("the number should be below a usize")
    }

    pub(super) fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 56) as u8).collect()
    }

    /// Returns whether an event with a probability of one in `cases` happens.
    fn once_in(&mut self, cases: usize) -> bool {
        self.below(cases) == 0
    }
}

/// Returns base64 with padding, in one line.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = (0..3).fold(0_usize, |bits, at| {
            bits << 8 | usize::from(three.get(at).copied().unwrap_or(0))
        });
        let digit = |at: usize| match at {
            at if at > three.len() => '=',
            at => char::from(DIGITS[bits >> (18 - 6 * at) & 63]),
        };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    bytes.chunks(3).flat_map(group).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    let digits = bytes
        .iter()
        .flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]);
    digits.collect()
}

/// Returns the lowest byte of a number.
fn low_byte(number: usize) -> u8 {
    let [byte, ..] = number.to_le_bytes();
    byte
}

/// Splits `text` into lines of `width` characters, each with a line break.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    text.as_bytes()
        .chunks(width)
        .map(|line| String::from_utf8_lossy(line).into_owned() + "\n")
        .collect()
}

/// Returns the lines of the armored form of `bytes`.
pub(super) fn armored(bytes: &[u8]) -> Vec<String> {
    let mut lines = vec!["-----BEGIN PGP MESSAGE-----\n".to_owned(), "\n".to_owned()];
    lines.extend(wrapped(&base64(bytes), 64));
    // Checksums are not verified.
    lines.push(format!("={}\n", &base64(&bytes[bytes.len() - 3..])));
    lines.push("-----END PGP MESSAGE-----\n".to_owned());
    lines
}

fn packet(random: &mut Random, tag: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len())
        .expect("a body should be short")
        .to_be_bytes();
    let header = match (body.len(), random.below(3)) {
        (0..256, 0) if tag < 16 => vec![0x80 | tag << 2, len[3]],
        (0..192, _) => vec![0xc0 | tag, len[3]],
        (0..65_536, 0) if tag < 16 => vec![0x81 | tag << 2, len[2], len[3]],
        (192..8384, 1) => {
            let [.., high, low] = (u32::from_be_bytes(len) - 192).to_be_bytes();
            vec![0xc0 | tag, high + 192, low]
        }
        _ => [&[0xc0 | tag, 255][..], &len].concat(),
    };
    [&header, body].concat()
}

/// Returns an SKESK packet with random keys.
fn skesk(random: &mut Random) -> Vec<u8> {
    let cipher = [7, 9, 2, 3, 13][random.below(5)];
    let hash = [2, 8, 10, 1][random.below(4)];
    let s2k = match random.below(4) {
        0 => vec![0, hash],
        1 => [&[1, hash][..], &random.bytes(8)].concat(),
        2 => [&[4][..], &random.bytes(16), &[1, 4, 21]].concat(),
        _ => [&[3, hash][..], &random.bytes(8), &[96]].concat(),
    };
    let body = match random.below(5) {
        0 => [&[5, cipher, 2][..], &s2k, &random.bytes(15 + 16 + 16)].concat(),
        1 => {
            let s2k_len = low_byte(s2k.len());
            [
                &[6, 3 + s2k_len + 15, cipher, 2, s2k_len][..],
                &s2k,
                &random.bytes(15 + 32 + 16),
            ]
            .concat()
        }
        2 => [&[4, cipher][..], &s2k, &random.bytes(33)].concat(),
        _ => [&[4, cipher][..], &s2k].concat(),
    };
    packet(random, 3, &body)
}

fn pkesk(random: &mut Random) -> Vec<u8> {
    let fields = match random.below(3) {
        0 => {
            let bytes = [256, 384, 512][random.below(3)];
            [&[1, low_byte(bytes / 32), 0][..], &random.bytes(bytes)].concat()
        }
        1 => [
            &[18, 1, 7, 0x40][..],
            &random.bytes(32),
            &[48],
            &random.bytes(48),
        ]
        .concat(),
        _ => [&[25][..], &random.bytes(32), &[41, 9], &random.bytes(40)].concat(),
    };
    let body = [&[3][..], &random.bytes(8), &fields].concat();
    packet(random, 1, &body)
}

/// Returns a container with random content, of 40 bytes to 100 KB.
fn container(random: &mut Random) -> Vec<u8> {
    let exponent = random.below(12).min(random.below(12));
    let len = 40 + random.below(24 << exponent);
    let (tag, fields) = match random.below(3) {
        0 => (18, vec![1]),
        1 => (18, vec![2, 9, 2, 6]),
        _ => (20, vec![1, 9, 2, 6]),
    };
    let body = [fields, random.bytes(len)].concat();
    if !random.once_in(3) || body.len() < 1024 {
        return packet(random, tag, &body);
    }
    // Partial lengths.
    let mut packet = vec![0xc0 | tag];
    let mut rest = body.as_slice();
    while rest.len() > 600 {
        let exponent = 9 + random.below(5);
        let exponent = if rest.len() < 1 << exponent {
            9
        } else {
            exponent
        };
        let (part, after) = rest.split_at(1 << exponent);
        packet.push(low_byte(224 + exponent));
        packet.extend_from_slice(part);
        rest = after;
    }
    let len = rest.len();
    if len < 192 {
        packet.push(low_byte(len));
    } else {
        packet.extend([low_byte(192 + ((len - 192) >> 8)), low_byte(len - 192)]);
    }
    packet.extend_from_slice(rest);
    packet
}

/// Returns a message with the structure of an encrypted one.
pub(super) fn message(random: &mut Random) -> Vec<u8> {
    let mut message = Vec::new();
    for _ in 0..random.below(8).saturating_sub(5) {
        message.extend(pkesk(random));
    }
    for _ in 0..=random.below(4) / 3 {
        message.extend(skesk(random));
    }
    message.extend(container(random));
    assert_eq!(
        structure(&message),
        crate::survey::Structure::Message { end: message.len() }
    );
    message
}

/// Pairs that lose information, with the reason. The first transformation comes first.
const LOSSY: [(&[&str], &[&str], &str); 2] = [
    (
        &["one line"],
        &["plus as space"],
        "line breaks and plus signs are both spaces",
    ),
    (
        &["plus as space"],
        &["one line"],
        "line breaks and plus signs are both spaces",
    ),
];

fn is_lossy(first: &str, second: &str) -> bool {
    LOSSY
        .iter()
        .any(|(firsts, seconds, _)| firsts.contains(&first) && seconds.contains(&second))
}

/// Applies a pair of transformations to a random message. Returns the reason for which the message is not found.
fn trial(seed: u64, first: (&str, Transform), second: (&str, Transform)) -> Result<(), String> {
    let random = &mut Random::new(seed);
    let message = message(random);
    let mut text = Text {
        text: armored(&message).concat(),
        message,
    };
    for (_, transform) in [first, second] {
        if let Some(changed) = transform(random, &text) {
            text.text = changed;
        }
    }
    let found = find(text.text.as_bytes(), 65_536).found;
    let expected = Found::Message {
        bytes: text.message,
        trailing: false,
    };
    let is_other = |found: &Found| {
        !matches!(
            found,
            Found::Message {
                trailing: false,
                ..
            }
        )
    };
    if found.contains(&expected) && !found.iter().any(is_other) {
        return Ok(());
    }
    let shown: Vec<_> = found
        .iter()
        .map(|found| match found {
            Found::Message { bytes, trailing } => {
                format!("message of {} bytes, {trailing}", bytes.len())
            }
            other => format!("{other:?}"),
        })
        .collect();
    let shape: String = text.text.chars().take(1500).collect();
    Err(format!(
        "{} + {} (seed {seed}): {shown:?}\n{shape}",
        first.0, second.0
    ))
}

#[test]
fn message_is_found_in_every_pair_of_shapes() {
    let soak = std::env::var_os("BULKHEAD_TEST_SOAK").is_some();
    let pairs: Vec<_> = TRANSFORMS
        .iter()
        .flat_map(|first| TRANSFORMS.iter().map(move |second| (*first, *second)))
        .filter(|(first, second)| !is_lossy(first.0, second.0))
        .collect();
    let trials = if soak { 10 * TRIALS } else { TRIALS };
    let mut failures = Vec::new();
    for (seed, &(first, second)) in (0..trials as u64).zip(pairs.iter().cycle()) {
        failures.extend(trial(seed, first, second).err());
    }
    assert!(
        failures.is_empty(),
        "{} of {trials} trials failed. {}",
        failures.len(),
        failures[..failures.len().min(400)].join("\n\n")
    );
}
