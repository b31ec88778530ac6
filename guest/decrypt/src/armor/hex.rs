//! Data as hexadecimal digits, as databases print binary columns. White space and quotation marks are skipped.

use super::Codec;
use super::base64::is_skipped;

/// Hexadecimal data that is decoded as far as it is needed.
pub(super) struct Run<'a> {
    text: &'a [u8],
    at: usize,
    ended: bool,
    /// The first digit of an incomplete byte.
    high: Option<u8>,
    bytes: Vec<u8>,
}

impl<'a> Codec<'a> for Run<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            ended: false,
            high: None,
            bytes: Vec::new(),
        }
    }

    fn fill(&mut self, bytes: usize) {
        while !self.ended && self.bytes.len() < bytes {
            match self.text.get(self.at) {
                Some(&c) if is_skipped(c) => self.at += 1,
                Some(&c) if value(c).is_some() => {
                    let digit = value(c).unwrap_or_default();
                    match self.high.take() {
                        Some(high) => self.bytes.push(high << 4 | digit),
                        None => self.high = Some(digit),
                    }
                    self.at += 1;
                }
                _ => self.ended = true,
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn end(&self) -> Option<usize> {
        self.ended.then_some(self.at)
    }

    fn into_bytes(mut self, len: usize) -> Vec<u8> {
        self.bytes.truncate(len);
        self.bytes
    }

    fn characters(text: &[u8], bytes: usize) -> usize {
        let mut missing = 2 * bytes;
        let mut at = 0;
        while missing > 0 && at < text.len() {
            let next = &text[at..text.len().min(at + missing)];
            missing -= next.iter().filter(|&&c| value(c).is_some()).count();
            at += next.len();
        }
        at
    }

    fn encoded_bytes(text: &[u8]) -> usize {
        text.iter().filter(|&&c| value(c).is_some()).count() / 2
    }
}

/// Returns the value of a hexadecimal digit.
pub(super) fn value(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}
