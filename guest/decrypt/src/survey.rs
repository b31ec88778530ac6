//! The structure of a packet sequence before anything is decrypted.

use crate::packet::{FramingError, Packet, Packets, tag};
use std::borrow::Cow;

/// The parts of a message.
pub(crate) struct Parts<'a> {
    /// Bodies of the session-key packets for passphrases (SKESK).
    pub(crate) skesks: Vec<Cow<'a, [u8]>>,
    /// Number of session-key packets for public keys (PKESK).
    pub(crate) pkesks: usize,
    /// The packet after the session keys.
    pub(crate) content: Option<Packet<'a>>,
}

/// Splits a message into its parts, up to and including the encrypted data.
pub(crate) fn parts(bytes: &[u8]) -> Result<Parts<'_>, FramingError> {
    let mut packets = Packets::new(bytes);
    let mut parts = Parts {
        skesks: Vec::new(),
        pkesks: 0,
        content: None,
    };
    while let Some(packet) = packets.next()? {
        match packet.tag {
            tag::SKESK => parts.skesks.push(packet.body),
            tag::PKESK => parts.pkesks += 1,
            tag::MARKER | tag::PADDING | tag::NON_CRITICAL.. => {}
            _ => {
                parts.content = Some(packet);
                break;
            }
        }
    }
    Ok(parts)
}

/// How far bytes follow the grammar of OpenPGP data (RFC 9580 section 10). Ends are offsets in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Structure {
    /// A message up to its `end`: session keys if there are any, and the packet after them.
    Message { end: usize },
    /// A packet up to its `end` that is not encrypted and has no session keys in front.
    Unencrypted { end: usize },
    /// A public or secret key, whose first packet has this `end`.
    Key { end: usize },
    /// The bytes end inside a message.
    Cut,
    /// A packet that belongs there does not begin at `at`.
    Broken { at: usize },
}

/// Reads the structure of `bytes` up to the end of the first message.
pub(crate) fn structure(bytes: &[u8]) -> Structure {
    let mut packets = Packets::new(bytes);
    let mut has_session_keys = false;
    loop {
        let at = bytes.len() - packets.rest().len();
        let packet = match packets.next() {
            Ok(Some(packet)) => packet,
            Ok(None) | Err(FramingError::Truncated) => return Structure::Cut,
            Err(FramingError::Malformed) => return Structure::Broken { at },
        };
        let end = bytes.len() - packets.rest().len();
        match packet.tag {
            tag::SKESK | tag::PKESK => has_session_keys = true,
            tag::MARKER | tag::PADDING | tag::NON_CRITICAL.. => {}
            tag::SEIPD | tag::GNUPG_AEAD | tag::ENCRYPTED_UNPROTECTED => {
                return Structure::Message { end };
            }
            tag if is_unencrypted(tag) => {
                return if has_session_keys {
                    Structure::Message { end }
                } else {
                    Structure::Unencrypted { end }
                };
            }
            tag::PUBLIC_KEY | tag::SECRET_KEY if !has_session_keys => {
                return Structure::Key { end };
            }
            _ => return Structure::Broken { at },
        }
    }
}

/// Number of bytes that [`begins_message`] and [`begins_packet`] look at.
pub(crate) const PROBE_BYTES: usize = 32;

/// Lengths of a session key that a version 4 SKESK may contain, with the cipher's number: none, and those of all ciphers.
/// 56 is a key for Blowfish that one program fills with zeros.
const WRAPPED_KEY_BYTES: [usize; 5] = [0, 1 + 16, 1 + 24, 1 + 32, 1 + 56];

/// Maximum number of bytes after the key derivation in SKESK packets of versions 5 and 6: a nonce, a key and a tag.
const SEALED_KEY_BYTES_MAX: usize = 16 + 32 + 16;

/// Returns whether bytes are the beginning of an encrypted message.
///
/// Text without OpenPGP data must not pass, wherever it is read. Therefore only session-key packets and marker packets
/// count, and a session-key packet needs fields that fit its length. Random bytes pass once in 5 billion cases.
pub(crate) fn begins_message(bytes: &[u8]) -> bool {
    let Some(head) = Head::parse(bytes) else {
        return false;
    };
    let body = head.body;
    let Some(len) = head.len else {
        return false;
    };
    match head.tag {
        tag::SKESK => skesk_fits(body, len),
        tag::PKESK => pkesk_fits(body, len),
        tag::MARKER => len == 3 && body.starts_with(b"PGP"),
        _ => false,
    }
}

/// Returns the number of bytes of the packet at the beginning of `bytes`, if a message may begin with it although its kind
/// is unknown: padding, private packets, and session-key packets.
pub(crate) fn skippable_packet(bytes: &[u8]) -> Option<usize> {
    let head = Head::parse(bytes)?;
    let is_skippable = match head.tag {
        tag::SKESK => matches!(head.body.first(), Some(4..=6)),
        tag::PKESK => matches!(head.body.first(), Some(2 | 3 | 6)),
        tag::PADDING | tag::NON_CRITICAL.. => true,
        _ => false,
    };
    is_skippable.then_some(head.header_bytes + head.len?)
}

/// Returns whether [`skippable_packet`] may accept bytes that begin with these three or more. The check is cheaper.
pub(crate) fn may_be_skippable(first: &[u8]) -> bool {
    match first {
        [0x84..=0x86 | 0xc1, ..] => {
            version(first).is_none_or(|version| matches!(version, 2 | 3 | 6))
        }
        [0x8c..=0x8e | 0xc3, ..] => version(first).is_none_or(|version| matches!(version, 4..=6)),
        [0xd5 | 0xe8.., ..] => true,
        _ => false,
    }
}

/// Returns whether [`begins_message`] may hold for bytes that begin with these three or more. The check is cheaper.
pub(crate) fn may_begin_message(first: &[u8]) -> bool {
    let is_length_possible = match *first {
        [0x8d | 0x86, high, ..] | [0xc1 | 0xc3, 255, high, ..] => high == 0,
        [0x85, high, ..] => high <= 0x10,
        [0x8e, high, low, ..] => high == 0 && low == 0,
        [0xc1, ..=223, ..] | [0xc3, ..=191, ..] | [0x84 | 0x8c, ..] => true,
        [0xca | 0xa8, len, p, ..] => return len == 3 && p == b'P',
        _ => false,
    };
    let is_version = |version: u8| match first[0] {
        0x84..=0x86 | 0xc1 => matches!(version, 3 | 6),
        _ => matches!(version, 4..=6),
    };
    is_length_possible && version(first).is_none_or(is_version)
}

/// Returns the version of the session-key packet at the beginning of `first`, if its length has no parts and `first` is
/// long enough.
fn version(first: &[u8]) -> Option<u8> {
    let header_bytes = match first {
        [0x84 | 0x8c, ..] | [0xc1 | 0xc3, ..=191, ..] => 2,
        [0x85 | 0x8d, ..] | [0xc1 | 0xc3, 192..=223, ..] => 3,
        [0x86 | 0x8e, ..] => 5,
        [0xc1 | 0xc3, 255, ..] => 6,
        _ => return None,
    };
    first.get(header_bytes).copied()
}

/// Returns whether a packet of a message may begin behind the first packet in `bytes`, as far as the bytes show it.
pub(crate) fn is_followed_by_packet(bytes: &[u8]) -> bool {
    let next = Head::parse(bytes).and_then(|head| bytes.get(head.header_bytes + head.len?));
    next.is_none_or(|&next| tag_of(next).is_some_and(is_tag_of_message))
}

/// Returns whether a packet with this tag may follow a session key.
fn is_tag_of_message(tag: u8) -> bool {
    let is_session_key = matches!(tag, tag::SKESK | tag::PKESK);
    let is_skipped = matches!(tag, tag::MARKER | tag::PADDING | tag::NON_CRITICAL..);
    let is_encrypted = matches!(
        tag,
        tag::SEIPD | tag::GNUPG_AEAD | tag::ENCRYPTED_UNPROTECTED
    );
    is_session_key || is_skipped || is_encrypted || is_unencrypted(tag)
}

/// Returns whether a packet with this tag is the content of a message that is not encrypted (RFC 9580 section 10.3).
fn is_unencrypted(tag: u8) -> bool {
    matches!(
        tag,
        tag::COMPRESSED | tag::LITERAL | tag::ONE_PASS_SIGNATURE | tag::SIGNATURE
    )
}

/// Returns the tag in the first byte of a packet.
fn tag_of(first: u8) -> Option<u8> {
    match first >> 6 {
        0b11 => Some(first & 0x3f),
        0b10 => Some(first >> 2 & 0x0f),
        _ => None,
    }
}

fn skesk_fits(body: &[u8], len: usize) -> bool {
    let at = |i: usize| body.get(i).copied();
    match at(0) {
        Some(4) => {
            let rest = s2k_bytes(body.get(2..)).and_then(|s2k| len.checked_sub(2 + s2k));
            is_cipher(at(1)) && rest.is_some_and(|rest| WRAPPED_KEY_BYTES.contains(&rest))
        }
        Some(5) => {
            let rest = s2k_bytes(body.get(3..)).and_then(|s2k| len.checked_sub(3 + s2k));
            is_cipher(at(1))
                && is_aead_mode(at(2))
                && rest.is_some_and(|rest| rest <= SEALED_KEY_BYTES_MAX)
        }
        Some(6) => {
            let s2k = s2k_bytes(body.get(5..));
            let rest = s2k.and_then(|s2k| len.checked_sub(5 + s2k));
            is_cipher(at(2))
                && is_aead_mode(at(3))
                && at(4).map(usize::from) == s2k
                && rest.is_some_and(|rest| rest <= SEALED_KEY_BYTES_MAX)
        }
        _ => false,
    }
}

/// Returns the length of a known S2K specifier at the beginning of `bytes` (RFC 9580 section 3.7.1).
fn s2k_bytes(bytes: Option<&[u8]>) -> Option<usize> {
    let bytes = bytes?;
    let is_hash = matches!(bytes.get(1), Some(1..=14 | 100..=110));
    match bytes.first()? {
        0 if is_hash => Some(2),
        1 if is_hash => Some(2 + 8),
        3 if is_hash => Some(2 + 8 + 1),
        // Argon2 with passes and lanes.
        4 if !matches!(bytes.get(17..19), Some([0, _] | [_, 0])) => Some(1 + 16 + 3),
        _ => None,
    }
}

/// Checks the algorithm and the length of its first number (RFC 9580 section 5.1).
fn pkesk_fits(body: &[u8], len: usize) -> bool {
    let at = |i: usize| body.get(i).copied();
    let (algorithm, fields) = match at(0) {
        Some(3) => (at(9), 10),
        // The version and the fingerprint of the key, unless the recipient is anonymous.
        Some(6) => match (at(1), at(2)) {
            (Some(0), algorithm) => (algorithm, 3),
            (Some(21), Some(4)) => (at(23), 24),
            (Some(33), Some(6)) => return (36..=4096).contains(&len),
            _ => return false,
        },
        _ => return false,
    };
    let Some(rest) = len.checked_sub(fields) else {
        return false;
    };
    let bits = body
        .get(fields..fields + 2)
        .map_or(0, |bits| usize::from(bits[0]) << 8 | usize::from(bits[1]));
    let first = 2 + bits.div_ceil(8);
    match algorithm {
        // RSA: one number.
        Some(1 | 2) => (512..=16_384).contains(&bits) && rest == first,
        // ElGamal: two numbers of about the same length.
        Some(16) => {
            (512..=16_384).contains(&bits) && (first..=first + 2).contains(&(rest - rest / 2))
        }
        // ECDH: a point with the prefix 4 or 0x40, and a wrapped key.
        Some(18) => {
            matches!(bits % 8, 3 | 7)
                && (200..=1100).contains(&bits)
                && rest.checked_sub(first + 1).is_some_and(|wrapped| {
                    wrapped.is_multiple_of(8) && (16..=64).contains(&wrapped)
                })
        }
        // X25519 and X448: a key, and a wrapped key.
        Some(25) => (32 + 1 + 24..=32 + 2 + 40).contains(&rest),
        Some(26) => (56 + 1 + 24..=56 + 2 + 40).contains(&rest),
        _ => false,
    }
}

/// Returns whether bytes may be the beginning of OpenPGP data of any kind, for data that BEGIN announces.
///
/// The check is cheap, and strict enough to reject ordinary words: it covers the packet type and the first bytes of the
/// body, as far as they are available.
pub(crate) fn begins_packet(bytes: &[u8]) -> bool {
    let Some(head) = Head::parse(bytes) else {
        return false;
    };
    let first = head.body.first().copied();
    let among = |versions: &[u8]| first.is_none_or(|first| versions.contains(&first));
    match head.tag {
        tag::SKESK => among(&[4, 5, 6]),
        tag::PKESK => among(&[2, 3, 6]),
        tag::MARKER => b"PGP".starts_with(&head.body[..head.body.len().min(3)]),
        tag::PADDING | tag::ENCRYPTED_UNPROTECTED | 60..=63 => true,
        tag::SEIPD => among(&[1, 2]),
        tag::GNUPG_AEAD => among(&[1]) && head.body.get(1).is_none_or(|&id| is_cipher(Some(id))),
        tag::COMPRESSED => among(&[0, 1, 2, 3]),
        tag::LITERAL => among(b"btuml1"),
        tag::SIGNATURE => among(&[3, 4, 5, 6]),
        tag::ONE_PASS_SIGNATURE => among(&[3, 6]),
        tag::SECRET_KEY | tag::PUBLIC_KEY => among(&[2, 3, 4, 5, 6]),
        _ => false,
    }
}

fn is_cipher(id: Option<u8>) -> bool {
    matches!(id, Some(1..=13 | 100..=110))
}

fn is_aead_mode(id: Option<u8>) -> bool {
    matches!(id, Some(1..=3 | 100..=110))
}

/// A packet header, and the available part of the body.
struct Head<'a> {
    tag: u8,
    header_bytes: usize,
    /// Length of the body, unless it is partial or indeterminate.
    len: Option<usize>,
    body: &'a [u8],
}

impl<'a> Head<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let number = |from: usize, to: usize| {
            let number = bytes.get(from..to)?;
            Some(number.iter().fold(0, |n, &b| n << 8 | usize::from(b)))
        };
        let first = *bytes.first()?;
        let tag = tag_of(first)?;
        let (header_bytes, len) = if first >> 6 == 0b11 {
            match *bytes.get(1)? {
                len @ 0..=191 => (2, Some(usize::from(len))),
                high @ 192..=223 => (
                    3,
                    number(2, 3).map(|low| (usize::from(high - 192) << 8) + low + 192),
                ),
                224..=254 => (2, None),
                255 => (6, number(2, 6)),
            }
        } else {
            match first & 3 {
                0 => (2, number(1, 2)),
                1 => (3, number(1, 3)),
                2 => (5, number(1, 5)),
                _ => (1, None),
            }
        };
        Some(Self {
            tag,
            header_bytes,
            len,
            body: bytes.get(header_bytes..).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKESK: [u8; 15] = [0x8c, 13, 4, 9, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8, 0xff];
    const SEIPD: [u8; 5] = [0xd2, 3, 1, 9, 9];

    #[test]
    fn session_key_packets_begin_a_message() {
        assert!(begins_message(&SKESK));
        assert!(begins_message(b"\xca\x03PGP"));
        for (at, wrong) in [(0, 0x0c), (1, 14), (2, 7), (3, 99), (4, 2), (5, 60)] {
            let mut other = SKESK;
            other[at] = wrong;
            assert!(!begins_message(&other), "{at}");
        }
        let rsa = [&[0x85, 0x01, 0x0c, 3][..], &[7; 8], &[1, 0x08, 0, 9]].concat();
        assert!(begins_message(&rsa));
    }

    #[test]
    fn data_without_session_keys_begins_no_message() {
        for first in [
            &[0xa4, 10, 1, 2, 3][..],
            &[0xc9, 10, 1, 2, 3],
            &[0xd2, 10, 1, 2, 3],
            &[0x99, 1, 13, 4, 0x5f],
            b"\xcb\x0bb\0\0\0\0\0hello",
        ] {
            assert!(!begins_message(first), "{first:?}");
        }
    }

    #[test]
    fn structure_is_read_to_its_end() {
        let whole = [&SKESK[..], &SEIPD].concat();
        let end = whole.len();
        assert_eq!(structure(&whole), Structure::Message { end });
        let more = [&whole[..], b"more"].concat();
        assert_eq!(structure(&more), Structure::Message { end });
        for len in 0..end {
            assert_eq!(structure(&whole[..len]), Structure::Cut, "{len}");
        }
    }

    #[test]
    fn packets_that_do_not_belong_in_a_message_break_it() {
        let at = SKESK.len();
        for tag in [5, 6, 14, 17, 30] {
            let packets = [&SKESK[..], &[0xc0 | tag, 1, 4]].concat();
            assert_eq!(structure(&packets), Structure::Broken { at }, "{tag}");
        }
        assert_eq!(
            structure(&[&SKESK[..], b"text"].concat()),
            Structure::Broken { at }
        );
        assert_eq!(structure(&[0xc6, 1, 4]), Structure::Key { end: 3 });
        let literal = Structure::Unencrypted { end: 3 };
        assert_eq!(structure(&[0xcb, 1, b'b']), literal);
    }
}
