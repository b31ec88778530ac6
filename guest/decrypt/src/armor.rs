//! Finds the OpenPGP data in pasted text.
//!
//! ASCII armor (RFC 9580 section 6.2) is often damaged by mail programs, chat windows, shells and word wrap. Therefore the
//! text between BEGIN and the data is not parsed strictly. Instead, positions where the data may begin are tried until
//! packets can be parsed there. The beginnings of words come first. They are sufficient unless line breaks were removed
//! and the data follows the last header directly; then every character is tried. Checksums are ignored: RFC 9580 section
//! 6.1 forbids rejecting a message because of one, and the data has its own integrity protection.

mod base64;

use crate::refusal::{Limit, Refusal, too_costly};
use crate::survey::{self, Classification, Strictness};
use memchr::memmem::find;
use std::borrow::Cow;

/// Maximum number of BEGIN lines that are tried. A mail thread may quote several messages.
const BLOCKS_MAX: usize = 64;

/// Maximum number of positions that are decoded to their end, over all blocks. Each takes time in proportion to the text,
/// and a hostile text may contain many plausible positions.
const WHOLE_DECODES_MAX: usize = 32;

/// Maximum number of bytes decoded at those positions, per character of the text and in addition. The message itself has
/// three quarters of a byte per character, and other plausible positions usually end soon.
const DECODED_BYTES_PER_CHARACTER: usize = 2;
const DECODED_BYTES_SPARE: usize = 1 << 20;

/// Number of characters after the last colon in which data that follows a header directly is searched for.
const GLUED_HEADER_VALUE_MAX: usize = 1024;

/// Number of bytes that are decoded for the first check of a position.
const PROBE_BYTES: usize = 12;

/// Finds and decodes the message in `text`. The data must begin within `header_bytes_max` bytes after BEGIN.
pub(crate) fn dearmor(text: &[u8], header_bytes_max: u32) -> Result<Vec<u8>, Refusal> {
    let text = &*unescape(text);
    let header_bytes_max = usize::try_from(header_bytes_max).unwrap_or(usize::MAX);
    let mut search = Search {
        decodes_left: WHOLE_DECODES_MAX,
        bytes_left: text.len() * DECODED_BYTES_PER_CHARACTER + DECODED_BYTES_SPARE,
        best: None,
        best_in_block: false,
    };
    let mut excess = None;
    let mut begins = 0;
    for start in blocks(text).take(BLOCKS_MAX) {
        begins += 1;
        let block = &text[start..];
        if let Some(found) = search.search_block(block, header_bytes_max) {
            return Ok(found);
        }
        // The headers are measured at most once, because there may be many long blocks.
        let near = &block[..block.len().min(header_bytes_max)];
        if search.best.is_none() && excess.is_none() && header_bytes(near).is_none() {
            excess = Some(header_bytes(block).unwrap_or(block.len()));
        }
    }
    if begins == 0
        && let Some(found) = search.search_block(text, header_bytes_max)
    {
        return Ok(found);
    }
    let excess = excess.filter(|bytes| *bytes > header_bytes_max);
    match (search.best, excess) {
        (Some((Classification::Truncated, _)), _) => Err(Refusal::Undecryptable),
        (Some((_, other)), _) => Ok(other),
        (None, Some(asked)) => Err(too_costly(
            Limit::ArmorHeaderOctets,
            asked as u64,
            header_bytes_max as u64,
        )),
        (None, None) => Err(Refusal::NotOpenpgp),
    }
}

/// Replaces `\n`, `\r` and `\t` written as two characters, which a JSON string contains that was escaped twice. The base64
/// alphabet has no backslash, so the data is not affected.
fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte == b'\\' && matches!(rest.peek(), Some(b'n' | b'r' | b't' | b'\\')) {
            // A series of backslashes is one escape that was escaped several times.
            if rest.peek() != Some(&b'\\') {
                rest.next();
                plain.push(b'\n');
            }
        } else {
            plain.push(byte);
        }
    }
    Cow::Owned(plain)
}

/// Returns the offset after each `-----BEGIN …-----`, with any label.
fn blocks(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    const BEGIN: &[u8] = b"-----BEGIN";
    /// The longest known label has 26 characters.
    const LABEL_MAX: usize = 128;
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + find(&text[from..], BEGIN)? + BEGIN.len();
        let label = &text[at..text.len().min(at + LABEL_MAX)];
        let line = label
            .iter()
            .position(|&c| matches!(c, b'\n' | b'\r'))
            .unwrap_or(label.len());
        let start = match find(&label[..line], b"-----") {
            Some(dashes) => at + dashes + 5,
            // Without the closing dashes, the rest of the line may be data.
            None => at,
        };
        from = start;
        Some(start)
    })
}

/// Returns the number of bytes up to the first empty line, which ends the headers (RFC 9580 section 6.2.2).
fn header_bytes(block: &[u8]) -> Option<usize> {
    // The rest of the BEGIN line does not count as a header.
    let from = block
        .iter()
        .position(|&c| c == b'\n')
        .map_or(0, |at| at + 1);
    find(&block[from..], b"\n\n").or_else(|| find(&block[from..], b"\n\r\n"))
}

struct Search {
    decodes_left: usize,
    bytes_left: usize,
    /// The best candidate so far that is not a complete encrypted message.
    best: Option<(Classification, Vec<u8>)>,
    /// Whether the best candidate is in the current block.
    best_in_block: bool,
}

impl Search {
    /// Returns the message in one block, if it is complete.
    fn search_block(&mut self, block: &[u8], header_bytes_max: usize) -> Option<Vec<u8>> {
        let zone = &block[..block.len().min(header_bytes_max)];
        self.best_in_block = false;
        // A session-key packet of an unknown kind may precede one of a known kind, so the lenient check follows.
        for strictness in [Strictness::Strict, Strictness::Lenient] {
            for start in word_starts(zone) {
                if let Some(found) = self.try_position(&block[start..], strictness, true) {
                    return Some(found);
                }
            }
        }
        let glued = zone.iter().rposition(|&c| c == b':')? + GLUED_HEADER_VALUE_MAX;
        for start in 0..zone.len().min(glued) {
            if let Some(found) = self.try_position(&block[start..], Strictness::Strict, false) {
                return Some(found);
            }
        }
        None
    }

    /// Returns the message that begins at the start of `text`, if it is complete. In the middle of a word (`word_start` is
    /// false), a match that is not a complete message is ignored as a coincidence.
    fn try_position(
        &mut self,
        text: &[u8],
        strictness: Strictness,
        word_start: bool,
    ) -> Option<Vec<u8>> {
        // This check rejects most positions. White space in front of the data is skipped here, because the next character
        // is tried anyway.
        if !base64::begins_packet(*text.first()?) {
            return None;
        }
        let probe = base64::decode_prefix(text, PROBE_BYTES);
        if !survey::starts_plausibly(&probe, strictness) {
            return None;
        }
        self.decodes_left = self.decodes_left.checked_sub(1)?;
        if self.bytes_left == 0 {
            return None;
        }
        let bytes = base64::decode(text);
        self.bytes_left = self.bytes_left.saturating_sub(bytes.len());
        match survey::classify(&bytes, strictness) {
            Classification::Encrypted => return Some(bytes),
            classification @ (Classification::Truncated | Classification::Other) if word_start => {
                // The first candidate of a block counts, because later lines may match by coincidence. A truncated
                // message in a later block is better than a key before it.
                let better = match self.best {
                    None => true,
                    Some((best, _)) => {
                        !self.best_in_block
                            && best == Classification::Other
                            && classification == Classification::Truncated
                    }
                };
                if better {
                    self.best = Some((classification, bytes));
                    self.best_in_block = true;
                }
            }
            Classification::Truncated | Classification::Other | Classification::Nothing => {}
        }
        None
    }
}

/// Returns the offsets at which a word begins: after white space, line ends and quotation marks of mail programs.
fn word_starts(zone: &[u8]) -> impl Iterator<Item = usize> + '_ {
    (0..zone.len())
        .filter(|&at| base64::is_digit(zone[at]) && (at == 0 || base64::is_skipped(zone[at - 1])))
}

#[cfg(test)]
mod tests;
