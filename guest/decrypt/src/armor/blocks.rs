//! The parts of a text: blocks between the lines BEGIN and END, and the text around them.

use super::base64::is_skipped;
use memchr::memmem::{find, find_iter};
use std::ops::Range;

const BEGIN: &[u8] = b"-----BEGIN";
const END: &[u8] = b"-----END";
const DASHES: &[u8] = b"-----";

/// Maximum length of a label. The longest known one has 26 characters.
const LABEL_MAX: usize = 128;

/// A part of a text.
pub(super) struct Block<'a> {
    /// The kind of block, unless no BEGIN is in front.
    pub(super) label: Option<Label>,
    /// Offset of the content in the text.
    pub(super) start: usize,
    /// The text after the line BEGIN, up to the next BEGIN or END.
    pub(super) content: &'a [u8],
    /// Whether BEGIN is alone on its line, and END or the end of the text follows. A block that was cut off after a few
    /// characters has both, whereas text that mentions BEGIN usually has not.
    pub(super) is_complete: bool,
}

/// The kind of block that BEGIN announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Message,
    Key,
    /// A signature, or text with a signature below it.
    Signature,
    /// PEM, or an unknown label.
    Other,
}

impl Label {
    fn parse(label: &[u8]) -> Self {
        let has = |word: &[u8]| find(label, word).is_some();
        if !has(b"PGP") {
            Self::Other
        } else if has(b"KEY") {
            Self::Key
        } else if has(b"SIGN") {
            Self::Signature
        } else {
            Self::Message
        }
    }
}

/// Returns the parts of `text` in order.
pub(super) fn blocks(text: &[u8]) -> impl Iterator<Item = Block<'_>> {
    let mut begins = find_iter(text, BEGIN).peekable();
    let mut ends = find_iter(text, END).peekable();
    let mut next = Some((None, 0, false));
    std::iter::from_fn(move || {
        let (label, start, is_alone_on_line) = next.take()?;
        while begins.next_if(|&at| at < start).is_some() {}
        while ends.next_if(|&at| at < start).is_some() {}
        let (begin, end) = (begins.peek().copied(), ends.peek().copied());
        let mark = begin.into_iter().chain(end).min();
        if let Some(at) = mark {
            let (name, after) = line(text, at);
            let label = (begin == mark).then(|| Label::parse(&text[name]));
            next = Some((label, after, is_alone(text, at..after)));
        }
        Some(Block {
            label,
            start,
            content: &text[start..mark.unwrap_or(text.len())],
            is_complete: label.is_some()
                && is_alone_on_line
                && begin.is_none_or(|at| Some(at) != mark),
        })
    })
}

/// Returns whether nothing but blanks and quotation marks are beside `mark` on its line.
fn is_alone(text: &[u8], mark: Range<usize>) -> bool {
    let is_line_break = |c: &u8| matches!(c, b'\n' | b'\r');
    let mut before = text[..mark.start].iter().rev();
    let mut behind = text[mark.end..].iter();
    let first = |c: &&u8| is_line_break(c) || !is_skipped(**c);
    before.find(first).is_none_or(is_line_break) && behind.find(first).is_none_or(is_line_break)
}

/// Returns the label of the line BEGIN or END at `at`, and the offset after its closing dashes. Without them, the rest of
/// the line may be data.
fn line(text: &[u8], at: usize) -> (Range<usize>, usize) {
    let mark = if text[at..].starts_with(BEGIN) {
        BEGIN
    } else {
        END
    };
    let name = at + mark.len();
    let near = &text[name..text.len().min(name + LABEL_MAX)];
    let line = near
        .iter()
        .position(|c| matches!(c, b'\n' | b'\r'))
        .unwrap_or(near.len());
    match find(&near[..line], DASHES) {
        // More dashes than five may be the beginning of the next line.
        Some(dashes) => (name..name + dashes, name + dashes + DASHES.len()),
        None => (name..name + line, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<(Option<Label>, &str)> {
        blocks(text.as_bytes())
            .map(|block| {
                let content = str::from_utf8(block.content).expect("text should be UTF-8");
                assert_eq!(&text[block.start..][..content.len()], content);
                (block.label, content)
            })
            .collect()
    }

    #[test]
    fn text_is_split_at_begin_and_end() {
        assert_eq!(parts("hello"), [(None, "hello")]);
        assert_eq!(
            parts("a-----BEGIN PGP MESSAGE-----b-----END PGP MESSAGE-----c"),
            [(None, "a"), (Some(Label::Message), "b"), (None, "c")]
        );
        assert_eq!(
            parts("-----BEGIN X-----\n-----BEGIN PGP SIGNATURE\nb------END Y-----\n"),
            [
                (None, ""),
                (Some(Label::Other), "\n"),
                (Some(Label::Signature), " PGP SIGNATURE\nb-"),
                (None, "\n")
            ]
        );
    }

    #[test]
    fn mention_of_begin_is_no_complete_block() {
        let is_complete = |text: &str| {
            blocks(text.as_bytes())
                .nth(1)
                .is_some_and(|b| b.is_complete)
        };
        assert!(is_complete("hello\n> -----BEGIN PGP MESSAGE----- \n\nabc"));
        assert!(is_complete("-----BEGIN PGP MESSAGE-----\n\nabc\n-----END"));
        assert!(!is_complete("hello -----BEGIN PGP MESSAGE-----\n\nabc"));
        assert!(!is_complete("-----BEGIN PGP MESSAGE----- hello\n\nabc"));
        assert!(!is_complete(
            "-----BEGIN PGP MESSAGE-----\n\nabc\n-----BEGIN"
        ));
    }
}
