//! Finds the OpenPGP messages in pasted text.
//!
//! ASCII armor (RFC 9580 section 6.2) is often damaged by mail programs, chat windows, shells, databases and word wrap.
//! A text passes through these steps, each of which takes time linear in the text:
//!
//! 1. [`escapes`] undoes the escapes of JSON, URLs, HTML and mail.
//! 2. [`blocks`] splits the text at the lines BEGIN and END.
//! 3. [`search`] looks for the beginnings of messages in each block, as base64 and as hexadecimal digits, and reads their
//!    structure. If a block has no complete message, [`lines`] restores plus signs that became spaces.
//! 4. Data that turns out to be text, such as the base64 of armor, passes through these steps again.
//!
//! Headers are not parsed, because the beginning of a message is recognisable without them. Checksums are ignored: RFC
//! 9580 section 6.1 forbids rejecting a message because of one, and the data has its own integrity protection.

mod base64;
mod blocks;
mod data;
mod escapes;
mod hex;
mod lines;
mod markup;
mod search;

use blocks::Label;
use std::borrow::Cow;

/// Maximum number of times that data may turn out to be text.
const NESTING_MAX: u32 = 4;

/// Data in a text encoding, decoded as far as it is needed.
trait Codec<'a> {
    /// Creates a decoder that begins at the first character of `text`.
    fn new(text: &'a [u8]) -> Self;

    /// Decodes until there are `bytes` bytes or the data ends.
    fn fill(&mut self, bytes: usize);

    /// Returns the bytes decoded so far.
    fn bytes(&self) -> &[u8];

    /// Returns the offset of the character that ends the data, once it has been reached.
    fn end(&self) -> Option<usize>;

    /// Returns the first `len` of the decoded bytes.
    fn into_bytes(self, len: usize) -> Vec<u8>;

    /// Returns the number of characters in `text` that encode the first `bytes` bytes.
    fn characters(text: &[u8], bytes: usize) -> usize;

    /// Returns the number of bytes that `text` encodes, rounded down.
    fn encoded_bytes(text: &[u8]) -> usize;
}

/// Everything that a text contains, in the order of the text.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) found: Vec<Found>,
    /// The kind of text, if it contains no message.
    pub(crate) evidence: Evidence,
    /// Whether a damaged message was found. Only the first one is in the list.
    is_damaged: bool,
}

/// A part of a text that is a message or should have been one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A message with a complete structure.
    Message {
        bytes: Vec<u8>,
        /// Whether other packets follow the encrypted data.
        trailing: bool,
    },
    /// A message that was cut off or damaged, and a clause that describes the damage.
    Damaged(String),
    /// OpenPGP data that is not encrypted.
    Unencrypted,
    /// A message whose armor headers have this number of bytes, which exceeds the limit.
    HeadersTooLong(usize),
}

/// The kind of a text that contains no message, in ascending order of certainty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Evidence {
    #[default]
    Nothing,
    /// Binary data that was read as text.
    Binary,
    /// PEM data, such as a certificate.
    Pem,
    /// A signature, or text with a signature below it.
    Signature,
    /// An OpenPGP key.
    Key,
}

/// Finds the messages in `text`. The data of a block must begin within `header_bytes_max` bytes after BEGIN, unless an
/// empty line is in between.
pub(crate) fn find(text: &[u8], header_bytes_max: u32) -> Findings {
    let mut findings = Findings::default();
    if is_binary(text) {
        findings.evidence = Evidence::Binary;
    }
    let header_bytes_max = usize::try_from(header_bytes_max).unwrap_or(usize::MAX);
    findings.add(text, header_bytes_max, 0);
    findings
}

impl Findings {
    /// Adds the findings of `text`. `nesting` is the number of times that data turned out to be text before.
    fn add(&mut self, text: &[u8], header_bytes_max: usize, nesting: u32) {
        let plain = escapes::undo(text);
        let is_original = nesting == 0 && matches!(plain, Cow::Borrowed(_));
        for block in blocks::blocks(&plain) {
            let result = search::search(&block, header_bytes_max);
            let is_empty = result.found.is_empty() && result.nested.is_empty();
            for found in result.found {
                let found = match found {
                    search::Found::Message {
                        bytes, trailing, ..
                    } => Found::Message { bytes, trailing },
                    // Describing takes time in proportion to the text.
                    search::Found::Damaged(_) if self.is_damaged => continue,
                    search::Found::Damaged(damage) => {
                        let place = plain.get(..block.start + damage.character);
                        Found::Damaged(damage.describe(place.filter(|_| is_original)))
                    }
                    search::Found::Unencrypted => Found::Unencrypted,
                    search::Found::Key => {
                        self.evidence = self.evidence.max(Evidence::Key);
                        continue;
                    }
                    search::Found::HeadersTooLong(bytes) => Found::HeadersTooLong(bytes),
                };
                self.is_damaged |= matches!(found, Found::Damaged(_));
                self.found.push(found);
            }
            if nesting < NESTING_MAX {
                for nested in result.nested {
                    self.add(&nested, header_bytes_max, nesting + 1);
                }
            }
            let evidence = match block.label {
                Some(Label::Key) => Evidence::Key,
                Some(Label::Signature) => Evidence::Signature,
                Some(Label::Other) => Evidence::Pem,
                Some(Label::Message) | None => Evidence::Nothing,
            };
            if is_empty {
                self.evidence = self.evidence.max(evidence);
            }
        }
    }
}

/// Returns whether `text` looks like binary data that was read as text: more than one of 32 characters is a replacement
/// or control character.
fn is_binary(text: &[u8]) -> bool {
    const SHARE: usize = 32;
    let control = |c: u8| c < 0x20 && !c.is_ascii_whitespace() || c == 0x7f;
    let controls = text.iter().filter(|&&c| control(c)).count();
    let replaced = memchr::memmem::find_iter(text, "\u{fffd}").count();
    // Binary data that was read as Latin-1 has control characters above 0x7f too.
    let high_controls = memchr::memchr_iter(0xc2, text)
        .filter(|&at| matches!(text.get(at + 1), Some(0x80..=0x9f)))
        .count();
    (controls + replaced + high_controls) * SHARE > text.len()
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod tests;
