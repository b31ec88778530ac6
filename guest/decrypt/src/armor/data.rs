//! Reads the structure of encoded data, and finds the place where it is damaged.

use super::base64::{is_digit, is_skipped, stray_character};
use super::{Codec, base64};
use crate::survey::{self, PROBE_BYTES, Structure};

/// Number of bytes that are decoded at first. Data that needs more is decoded in steps that grow by [`GROWTH`].
const FIRST_BYTES: usize = 2 * PROBE_BYTES;
const GROWTH: usize = 4;

/// Number of digits directly behind a message that show that it is damaged. A checksum and a word may follow a message
/// whose line breaks were removed.
const SURPLUS_DIGITS: usize = 24;

/// Number of digits directly behind a message that may be further packets. A checksum has fewer.
const PACKET_DIGITS: usize = 8;

/// Encoded data that begins like OpenPGP data.
pub(super) enum Data {
    Message {
        bytes: Vec<u8>,
        /// Whether further packets follow.
        trailing: bool,
        /// Whether more data follows, on the same line or on the next one.
        is_followed: bool,
        /// Whether the data has several lines, with spaces inside.
        has_spaces: bool,
    },
    Unencrypted,
    Key,
    Damaged(Damage),
}

/// The place and the kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    kind: DamageKind,
    /// Number of bytes of the message in front of the damage.
    pub(super) byte: usize,
    /// Offset in the text.
    pub(super) character: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DamageKind {
    /// The data ends inside a packet.
    Cut,
    /// A character does not belong to the data.
    Character,
    /// The bytes are not the packet that belongs there.
    Packet,
    /// More data follows the message.
    Surplus,
}

impl Damage {
    /// Damage at the first byte of a message.
    pub(super) fn at_start(kind: DamageKind) -> Self {
        Self {
            kind,
            byte: 0,
            character: 0,
        }
    }

    pub(super) fn behind(self, characters: usize) -> Self {
        Self {
            character: self.character + characters,
            ..self
        }
    }

    /// Describes the damage in a clause. `before` is the text in front of the place, if the caller knows that text.
    pub(super) fn describe(self, before: Option<&[u8]>) -> String {
        let bytes = match self.byte {
            0 => "at the beginning of its data".to_owned(),
            1 => "after 1 byte of its data".to_owned(),
            bytes => format!("after {bytes} bytes of its data"),
        };
        let line = before.map_or_else(String::new, |before| {
            let crlf = memchr::memmem::find_iter(before, b"\r\n").count();
            let breaks = memchr::memchr2_iter(b'\n', b'\r', before).count() - crlf;
            format!(", in line {} of the text", breaks + 1)
        });
        match self.kind {
            DamageKind::Cut => format!("it ends too early, {bytes}{line}"),
            DamageKind::Character => {
                format!("a character does not belong there, {bytes}{line}")
            }
            DamageKind::Packet => format!("the data is not that of a message, {bytes}{line}"),
            DamageKind::Surplus => format!("more data follows its end, {bytes}{line}"),
        }
    }
}

/// Reads the data at the beginning of `text`. Returns it with the number of characters behind which the search continues.
pub(super) fn read<'a, C: Codec<'a>>(text: &'a [u8]) -> (Data, usize) {
    let mut run = C::new(text);
    let mut wanted = FIRST_BYTES;
    let structure = loop {
        run.fill(wanted);
        match survey::structure(run.bytes()) {
            Structure::Cut if run.end().is_none() => wanted *= GROWTH,
            structure => break structure,
        }
    };
    match structure {
        Structure::Message { end } => whole(run, text, end),
        Structure::Unencrypted { end } => (Data::Unencrypted, C::characters(text, end)),
        Structure::Key { end } => (Data::Key, C::characters(text, end)),
        Structure::Cut => cut(&run, text),
        Structure::Broken { at } => {
            let character = C::characters(text, at);
            if let Some(damage) = stray::<C>(&text[..character]) {
                return (Data::Damaged(damage), character);
            }
            let damage = Damage {
                kind: DamageKind::Packet,
                byte: at,
                character,
            };
            (Data::Damaged(damage), character.max(1))
        }
    }
}

/// Returns the message of `end` bytes, and what its characters and the text behind it say about damage.
fn whole<'a, C: Codec<'a>>(mut run: C, text: &'a [u8], end: usize) -> (Data, usize) {
    let characters = C::characters(text, end);
    if let Some(damage) = stray::<C>(&text[..characters]) {
        return (Data::Damaged(damage), characters);
    }
    let behind = &text[characters..];
    let surplus = behind.iter().take_while(|&&c| is_digit(c)).count();
    let is_next_message = survey::begins_message(&base64::probe(behind, survey::may_begin_message));
    let mut trailing = false;
    if surplus >= PACKET_DIGITS && !is_next_message {
        run.fill(end + PROBE_BYTES);
        trailing = survey::begins_packet(&run.bytes()[end..]);
        if !trailing && surplus >= SURPLUS_DIGITS {
            let damage = Damage {
                kind: DamageKind::Surplus,
                byte: end,
                character: characters,
            };
            return (Data::Damaged(damage), characters + surplus);
        }
    }
    let mut next = behind[surplus..].iter().skip_while(|&&c| is_skipped(c));
    let is_followed = !is_next_message
        && (surplus >= PACKET_DIGITS
            || (0..PACKET_DIGITS).all(|_| next.next().is_some_and(|&c| is_digit(c))));
    let message = Data::Message {
        bytes: run.into_bytes(end),
        trailing,
        is_followed,
        has_spaces: has_spaces(&text[..characters]),
    };
    (message, characters)
}

/// Returns whether data of several lines has spaces between digits.
fn has_spaces(text: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', text).is_some()
        && memchr::memchr_iter(b' ', text).any(|at| {
            let is_digit_at = |at: usize| text.get(at).copied().is_some_and(is_digit);
            is_digit_at(at.wrapping_sub(1)) && is_digit_at(at + 1)
        })
}

/// Returns the damage of a message that ends too early: a character that does not belong there, or the end of the text.
fn cut<'a, C: Codec<'a>>(run: &C, text: &[u8]) -> (Data, usize) {
    let end = run.end().unwrap_or(text.len());
    if let Some(damage) = stray::<C>(&text[..end]) {
        return (Data::Damaged(damage), end);
    }
    // If data follows the character directly, it did not end there.
    let mut behind = text[end..].iter().copied();
    let stops = behind.next().is_some_and(|c| c != b'=');
    let kind =
        if stops && behind.take(PACKET_DIGITS).filter(|&c| is_digit(c)).count() == PACKET_DIGITS {
            DamageKind::Character
        } else {
            DamageKind::Cut
        };
    let damage = Damage {
        kind,
        byte: run.bytes().len(),
        character: end,
    };
    (Data::Damaged(damage), end)
}

/// Returns the damage by the first character in `text` that the codec skipped, but that does not belong there.
fn stray<'a, C: Codec<'a>>(text: &[u8]) -> Option<Damage> {
    let character = stray_character(text)?;
    Some(Damage {
        kind: DamageKind::Character,
        byte: C::encoded_bytes(&text[..character]),
        character,
    })
}
