//! The structure of a packet sequence before anything is decrypted: is it an encrypted message, other OpenPGP data,
//! truncated, or not OpenPGP at all?

use crate::packet::{FramingError, Packet, Packets, tag};
use std::borrow::Cow;

/// How far bytes follow the grammar of an encrypted message (RFC 9580 section 10.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Classification {
    /// Session-key packets, and a complete packet after them.
    Encrypted,
    /// The beginning of an encrypted message.
    Truncated,
    /// OpenPGP data without session keys, such as public keys, signatures or literal data.
    Other,
    /// Not OpenPGP.
    Nothing,
}

/// How strictly the beginning of a packet is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Session-key packets must have a known version, cipher and key derivation.
    Strict,
    /// Session-key packets may be of any kind.
    Lenient,
}

/// The parts of a message.
pub(crate) struct Parts<'a> {
    /// Bodies of the session-key packets for passphrases (SKESK).
    pub(crate) skesks: Vec<Cow<'a, [u8]>>,
    /// Number of session-key packets for public keys (PKESK).
    pub(crate) pkesks: usize,
    /// The packet after the session keys.
    pub(crate) content: Option<Packet<'a>>,
    /// Whether packets follow the content that do not belong in a message.
    pub(crate) trailing: bool,
}

/// Number of bytes that a checksum leaves behind if it is decoded together with the data.
const GLUED_CHECKSUM_BYTES: usize = 3;

/// Splits a message into its parts, up to and including the encrypted data.
pub(crate) fn parts(bytes: &[u8]) -> Result<Parts<'_>, FramingError> {
    let mut packets = Packets::new(bytes);
    let mut parts = Parts {
        skesks: Vec::new(),
        pkesks: 0,
        content: None,
        trailing: false,
    };
    while let Some(packet) = packets.next()? {
        match packet.tag {
            tag::SKESK => parts.skesks.push(packet.body),
            tag::PKESK => parts.pkesks += 1,
            tag::MARKER | tag::PADDING | tag::NON_CRITICAL.. => {}
            _ => {
                parts.trailing = trailing_packets(packets.rest());
                parts.content = Some(packet);
                break;
            }
        }
    }
    Ok(parts)
}

/// Returns whether further packets follow the encrypted data. A checksum that lost its line break, or text that happens to
/// be base64, does not count.
fn trailing_packets(rest: &[u8]) -> bool {
    if rest.len() <= GLUED_CHECKSUM_BYTES {
        return false;
    }
    let mut packets = Packets::new(rest);
    let mut found = false;
    loop {
        match packets.next() {
            Ok(Some(packet)) => {
                found |= !matches!(packet.tag, tag::MARKER | tag::PADDING | tag::NON_CRITICAL..);
            }
            Ok(None) => return found,
            Err(_) => return false,
        }
    }
}

/// Classifies decoded bytes by their structure.
pub(crate) fn classify(bytes: &[u8], strictness: Strictness) -> Classification {
    if !starts_plausibly(bytes, strictness) {
        return Classification::Nothing;
    }
    match parts(bytes) {
        Ok(parts) => match (parts.skesks.len() + parts.pkesks, parts.content) {
            (0, Some(_)) => Classification::Other,
            (0, None) => Classification::Nothing,
            // If the packet after the session keys is not encrypted data, it is rejected later, with the reason.
            (_, Some(_)) => Classification::Encrypted,
            (_, None) => Classification::Truncated,
        },
        Err(FramingError::Truncated) => Classification::Truncated,
        Err(FramingError::Malformed) => Classification::Nothing,
    }
}

/// Returns whether bytes may be the beginning of a message or of other OpenPGP data.
///
/// The check is cheap, and strict enough to reject ordinary words: it covers the packet type and the first bytes of the
/// body.
pub(crate) fn starts_plausibly(bytes: &[u8], strictness: Strictness) -> bool {
    let Some((tag, body)) = head(bytes) else {
        return false;
    };
    let at = |i: usize| body.get(i).copied();
    match tag {
        tag::SKESK if strictness == Strictness::Lenient => !body.is_empty(),
        tag::SKESK => match at(0) {
            Some(4) => s2k_plausible(at(2)) && cipher_plausible(at(1)),
            Some(5) => cipher_plausible(at(1)) && s2k_plausible(at(3)),
            Some(6) => cipher_plausible(at(2)) && s2k_plausible(at(5)),
            _ => false,
        },
        tag::PKESK => matches!(at(0), Some(2 | 3 | 6)),
        tag::MARKER => body.starts_with(b"PGP"),
        tag::PADDING | tag::ENCRYPTED_UNPROTECTED | 60..=63 => true,
        tag::SEIPD => matches!(at(0), Some(1 | 2)),
        tag::GNUPG_AEAD => at(0) == Some(1) && cipher_plausible(at(1)),
        tag::COMPRESSED => matches!(at(0), Some(0..=3)),
        tag::LITERAL => matches!(at(0), Some(b'b' | b't' | b'u' | b'm' | b'l' | b'1')),
        tag::SIGNATURE => matches!(at(0), Some(3..=6)),
        tag::ONE_PASS_SIGNATURE => matches!(at(0), Some(3 | 6)),
        tag::SECRET_KEY | tag::PUBLIC_KEY => matches!(at(0), Some(2..=6)),
        _ => false,
    }
}

fn cipher_plausible(id: Option<u8>) -> bool {
    matches!(id, Some(1..=13 | 100..=110))
}

fn s2k_plausible(id: Option<u8>) -> bool {
    matches!(id, Some(0..=4 | 100..=110))
}

/// Returns the packet type and the available part of the body, regardless of the length field.
fn head(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let first = *bytes.first()?;
    let (tag, skip) = match first >> 6 {
        0b11 => {
            let skip = match bytes.get(1)? {
                0..=191 | 224..=254 => 2,
                192..=223 => 3,
                255 => 6,
            };
            (first & 0x3f, skip)
        }
        0b10 => (first >> 2 & 0x0f, [2, 3, 5, 1][usize::from(first & 3)]),
        _ => return None,
    };
    Some((tag, bytes.get(skip..)?))
}
