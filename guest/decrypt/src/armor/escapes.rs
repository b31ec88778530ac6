//! Escapes that programs put into text when they pass it on: of JSON, URLs, HTML, XML and mail.
//!
//! Each transformation returns `None` if the text has none of its escapes. None of their special characters belongs to
//! base64 data except `=`, so that text that was never escaped keeps its data.

use super::hex;
use super::markup::{entities, tags};
use std::borrow::Cow;

/// Undoes one kind of escape.
type Transformation = fn(&[u8]) -> Option<Vec<u8>>;

/// The order is fixed. Quoted-printable encoding is undone between the two lists, because it may break a line inside of
/// an escape. JSON comes several times in front of percent-encoding, whose plus signs have two meanings. Other escapes of
/// escapes need further rounds.
const BEFORE_SOFT_BREAKS: [Transformation; 2] = [tags, entities];
const AFTER_SOFT_BREAKS: [Transformation; 4] =
    [json_escapes, json_escapes, json_escapes, percent_encoding];

/// Maximum number of rounds, so that the time is linear in the text.
const ROUNDS_MAX: usize = 5;

/// Undoes all escapes in `text`, including those that were escaped again.
pub(super) fn undo(text: &[u8]) -> Cow<'_, [u8]> {
    let mut text = Cow::Borrowed(text);
    let mut has_escaped_signs = false;
    for _ in 0..ROUNDS_MAX {
        let mut changed = false;
        let mut apply = |text: &mut Cow<'_, [u8]>, plain: Option<Vec<u8>>| {
            if let Some(plain) = plain {
                *text = Cow::Owned(plain);
                changed = true;
            }
        };
        for transformation in BEFORE_SOFT_BREAKS {
            let plain = transformation(&text);
            apply(&mut text, plain);
        }
        // Line breaks may still be escaped when the equals signs are not any more.
        has_escaped_signs |= has_escaped_sign(&text);
        let plain = quoted_printable(&text, has_escaped_signs);
        apply(&mut text, plain);
        for transformation in AFTER_SOFT_BREAKS {
            let plain = transformation(&text);
            apply(&mut text, plain);
        }
        if !changed {
            break;
        }
    }
    text
}

/// Copies `text` and replaces some occurrences of `mark`. `replace` gets the offset of the mark, writes the replacement,
/// and returns the number of characters that it replaces, or 0 to keep the mark.
pub(super) fn replace_at(
    text: &[u8],
    mark: u8,
    mut replace: impl FnMut(usize, &mut Vec<u8>) -> usize,
) -> Option<Vec<u8>> {
    let mut plain: Option<Vec<u8>> = None;
    let mut replacement = Vec::new();
    let mut copied = 0;
    let mut from = 0;
    while let Some(found) = memchr::memchr(mark, &text[from..]) {
        let at = from + found;
        replacement.clear();
        let replaced = replace(at, &mut replacement);
        if replaced == 0 {
            from = at + 1;
            continue;
        }
        let plain = plain.get_or_insert_with(|| Vec::with_capacity(text.len()));
        plain.extend_from_slice(&text[copied..at]);
        plain.extend_from_slice(&replacement);
        from = at + replaced;
        copied = from;
    }
    plain.map(|mut plain| {
        plain.extend_from_slice(&text[copied..]);
        plain
    })
}

/// Undoes the escapes of JSON strings (RFC 8259 section 7) once. Backslashes in front of other characters stay.
fn json_escapes(text: &[u8]) -> Option<Vec<u8>> {
    replace_at(text, b'\\', |at, plain| {
        match json_escape(&text[at + 1..], plain) {
            0 => 0,
            escape => 1 + escape,
        }
    })
}

/// Writes the character whose escape, without the backslash, is at the beginning of `text`. Returns the escape's length.
fn json_escape(text: &[u8], plain: &mut Vec<u8>) -> usize {
    match text.first() {
        Some(b'n') => plain.push(b'\n'),
        Some(b'r') => plain.push(b'\r'),
        Some(b't') => plain.push(b'\t'),
        // They are white space here.
        Some(b'b' | b'f') => plain.push(b' '),
        Some(&c @ (b'/' | b'"' | b'\\')) => plain.push(c),
        Some(b'u') => {
            let code = text.get(1..5).and_then(|digits| number(digits, 16));
            let Some(code) = code else { return 0 };
            // Half of a pair is not a character. Data has no such characters.
            push_character(code, plain);
            return 5;
        }
        _ => return 0,
    }
    1
}

/// Parses digits of base `radix`.
pub(super) fn number(digits: &[u8], radix: u32) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    u32::from_str_radix(str::from_utf8(digits).ok()?, radix).ok()
}

/// Appends a character in UTF-8.
pub(super) fn push_character(code: u32, plain: &mut Vec<u8>) {
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Undoes percent-encoding (RFC 3986 section 2.1), and `+` for a space in text that was encoded as a form.
fn percent_encoding(text: &[u8]) -> Option<Vec<u8>> {
    let plain = percent_escapes(text)?;
    if memchr::memmem::find(text, b"BEGIN+").is_none() {
        return Some(plain);
    }
    // A form has no white space.
    let is_space = |c: &u8| c.is_ascii_whitespace();
    let words = text.split_inclusive(is_space).flat_map(|word| {
        let is_form = memchr::memchr(b'%', word).is_some();
        word.iter().map(move |&c| match c {
            b'+' if is_form => b' ',
            c => c,
        })
    });
    percent_escapes(&words.collect::<Vec<_>>())
}

fn percent_escapes(text: &[u8]) -> Option<Vec<u8>> {
    let byte = |text: &[u8]| Some(hex::value(*text.get(1)?)? << 4 | hex::value(*text.get(2)?)?);
    replace_at(text, b'%', |at, plain| {
        byte(&text[at..]).map_or(0, |byte| {
            plain.push(byte);
            3
        })
    })
}

/// Undoes quoted-printable encoding (RFC 2045 section 6.7): soft line breaks, and `=3D` and the like in text that escapes
/// the equals sign. Padding at the end of a line is not a soft line break.
fn quoted_printable(text: &[u8], has_escaped_signs: bool) -> Option<Vec<u8>> {
    let has_escapes = has_escaped_sign(text);
    replace_at(text, b'=', |at, plain| {
        let rest = &text[at + 1..];
        let blanks = rest
            .iter()
            .take_while(|c| matches!(c, b' ' | b'\t'))
            .count();
        let line_break = line_break(&rest[blanks..]);
        if line_break > 0 {
            let next = &rest[blanks + line_break..];
            let is_inside =
                has_escaped_signs || at > 0 && is_visible(text[at - 1]) && is_inside(next);
            return if is_inside {
                1 + blanks + line_break
            } else {
                0
            };
        }
        match rest {
            [high, low, ..] if has_escapes => match (hex::value(*high), hex::value(*low)) {
                (Some(high), Some(low)) => {
                    plain.push(high << 4 | low);
                    3
                }
                _ => 0,
            },
            _ => 0,
        }
    })
}

fn has_escaped_sign(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"=3D").is_some()
}

/// Returns the length of the line break at the beginning of `text`, or 0.
pub(super) fn line_break(text: &[u8]) -> usize {
    match text {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

/// Returns whether text after a line break continues data: it is not the line of a checksum or of END.
fn is_inside(text: &[u8]) -> bool {
    let is_quoted = text.starts_with(b">") || text.starts_with(b"|");
    text.first().copied().is_some_and(is_visible) && !is_quoted && !text.starts_with(b"-----")
}

fn is_visible(c: u8) -> bool {
    c.is_ascii_graphic() && c != b'='
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn plain(text: &str, expected: &str) {
        assert_eq!(
            String::from_utf8_lossy(&undo(text.as_bytes())),
            expected,
            "{text}"
        );
    }

    #[test]
    fn escapes_of_json_are_undone() {
        plain(r"a\nb\r\nc\td", "a\nb\r\nc\td");
        plain(r#"\"a\/b\u002bc\u002B\""#, "\"a/b+c+\"");
        plain(r"a\\n\\\\/b\\\\u002b", "a\n/b+");
        plain(r"\xc30d \u00e9 \u12", "\\xc30d \u{e9} \\u12");
    }

    #[test]
    fn percent_encoding_is_undone() {
        plain("a%0Ab%2bc%2B100%", "a\nb+c+100%");
        plain("a%250Ab", "a\nb");
        plain(
            "-----BEGIN+PGP+MESSAGE-----%0Aa%2Bb",
            "-----BEGIN PGP MESSAGE-----\na+b",
        );
    }

    #[test]
    fn markup_is_undone() {
        plain(
            "a<br>\nb<BR />c<p>d</p><div class=x>e</div>f",
            "a\nb\nc\nd\n\ne\nf",
        );
        plain("a<b>b</b><wbr>c <bob@example.org>", "abc <bob@example.org>");
        plain(
            "&#43;&#x2B;&#X2f;&plus;&sol;&amp;#43;&nosuch;&",
            "++/+/+&nosuch;&",
        );
        plain("a&lt;br&gt;b&nbsp;&NewLine;", "a\nb\u{a0}\n");
    }

    #[test]
    fn quoted_printable_encoding_is_undone() {
        plain("ab=\ncd=3D=\r\n=3DKvJQ", "abcd==KvJQ");
        plain("ab=  \ncd", "abcd");
        plain("abc=\n=KvJQ\n-----END", "abc=\n=KvJQ\n-----END");
        plain("abc=\n-----END", "abc=\n-----END");
        plain("ab==\n=KvJQ", "ab==\n=KvJQ");
    }

    #[test]
    fn plain_armor_is_not_copied() {
        let sample = include_bytes!("../sample.asc");
        assert!(matches!(undo(sample), Cow::Borrowed(_)));
    }

    #[test]
    fn nested_escapes_take_linear_time() {
        let text = [
            &b"&amp;".repeat(3)[..],
            &b"\\".repeat(1 << 20),
            &b"%25".repeat(1 << 18),
        ]
        .concat();
        assert!(undo(&text).len() < text.len());
    }
}
