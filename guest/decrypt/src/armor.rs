//! Finds the OpenPGP bytes in text as people paste it.
//!
//! ASCII armor (RFC 9580 section 6.2) is often damaged on its way: by mail programs, chat windows,
//! shells, word wrap. So the text between BEGIN and the data is not parsed by the book. Instead
//! positions where the data may start are tried until packets parse there: first the starts of
//! words, which is right for all but one kind of damage (newlines gone, the last header glued to
//! the data), then every character. No checksum is looked at: RFC 9580 section 6.1 forbids to
//! reject a message for one, and the data has its own integrity protection.

mod base64;

use crate::refusal::{Limit, Refusal, too_costly};
use crate::survey::{self, Classification, Strictness};
use memchr::memmem::find;
use std::borrow::Cow;

/// BEGIN lines that are tried. Mail threads quote earlier messages, but not endlessly.
const BLOCKS_MAX: usize = 64;

/// Positions of one message that are decoded whole, over all blocks. Each costs time in proportion
/// to the text, so that a text full of almost-starts must not get more.
const WHOLE_DECODES_MAX: usize = 32;

/// Bytes decoded at those positions, for each character of the text, and some for short texts. The
/// message itself needs three quarters of a byte for each; almost-starts in front of it end soon.
const DECODED_BYTES_PER_CHARACTER: usize = 2;
const DECODED_BYTES_SPARE: usize = 1 << 20;

/// Characters after the last colon in which data glued to a header is looked for.
const GLUED_HEADER_VALUE_MAX: usize = 1024;

/// Bytes decoded to judge a position before all is decoded.
const PROBE_BYTES: usize = 12;

/// Finds and decodes the message in `text`. At most `header_bytes_max` bytes between BEGIN and
/// the data are looked at.
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
        if let Some(found) = search.block(block, header_bytes_max) {
            return Ok(found);
        }
        // Measured at most once: there may be many blocks, and what follows each may be long.
        let near = &block[..block.len().min(header_bytes_max)];
        if search.best.is_none() && excess.is_none() && header_bytes(near).is_none() {
            excess = Some(header_bytes(block).unwrap_or(block.len()));
        }
    }
    if begins == 0
        && let Some(found) = search.block(text, header_bytes_max)
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

/// `\n`, `\r` and `\t` written as two characters, as they come out of a JSON string that was
/// escaped twice. No backslash is in the base64 alphabet, so nothing is lost.
fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte == b'\\' && matches!(rest.peek(), Some(b'n' | b'r' | b't' | b'\\')) {
            // A run of backslashes is one escape that was escaped again.
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

/// Offsets right behind each `-----BEGIN …-----`. The label is not looked at.
fn blocks(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    const BEGIN: &[u8] = b"-----BEGIN";
    /// The longest label known is 26 characters.
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
            // Closing dashes lost: the rest of the line is a word like any other.
            None => at,
        };
        from = start;
        Some(start)
    })
}

/// Bytes up to the first empty line, which ends the headers (RFC 9580 section 6.2.2).
fn header_bytes(block: &[u8]) -> Option<usize> {
    // The rest of the BEGIN line is not a header.
    let from = block
        .iter()
        .position(|&c| c == b'\n')
        .map_or(0, |at| at + 1);
    find(&block[from..], b"\n\n").or_else(|| find(&block[from..], b"\n\r\n"))
}

struct Search {
    decodes_left: usize,
    bytes_left: usize,
    /// The best thing found that is not a whole encrypted message.
    best: Option<(Classification, Vec<u8>)>,
    /// Whether that was found in the block at hand.
    best_in_block: bool,
}

impl Search {
    /// The message in one block, if it is there whole.
    fn block(&mut self, block: &[u8], header_bytes_max: usize) -> Option<Vec<u8>> {
        let zone = &block[..block.len().min(header_bytes_max)];
        self.best_in_block = false;
        // A session-key packet of an unknown kind may stand before one of a known kind, so that
        // what looks less likely gets its turn, too.
        for strictness in [Strictness::Strict, Strictness::Lenient] {
            for start in word_starts(zone) {
                if let Some(found) = self.position(&block[start..], strictness, true) {
                    return Some(found);
                }
            }
        }
        let glued = zone.iter().rposition(|&c| c == b':')? + GLUED_HEADER_VALUE_MAX;
        for start in 0..zone.len().min(glued) {
            if let Some(found) = self.position(&block[start..], Strictness::Strict, false) {
                return Some(found);
            }
        }
        None
    }

    /// The message that starts right here, if it is there whole. In the middle of a word
    /// (`word_start` false) anything less than that is taken for chance.
    fn position(
        &mut self,
        text: &[u8],
        strictness: Strictness,
        word_start: bool,
    ) -> Option<Vec<u8>> {
        // Most of a text ends here. Whitespace and line noise (`\n` in the middle of a scan) would
        // only repeat a try.
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
                // In one block the first find counts: lines further down may fit by chance. A
                // message in a later block that was cut says more than a key before it.
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

/// Offsets where a word starts: after blanks, line ends, quote marks.
fn word_starts(zone: &[u8]) -> impl Iterator<Item = usize> + '_ {
    (0..zone.len())
        .filter(|&at| base64::is_digit(zone[at]) && (at == 0 || base64::is_skipped(zone[at - 1])))
}

#[cfg(test)]
mod tests;
