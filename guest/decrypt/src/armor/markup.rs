//! Tags and entities of HTML and XML.

use super::escapes::{line_break, number, push_character, replace_at};

/// Elements that begin or end a line.
const BLOCKS: [&str; 16] = [
    "br",
    "p",
    "div",
    "pre",
    "li",
    "ul",
    "ol",
    "tr",
    "td",
    "table",
    "tbody",
    "blockquote",
    "h1",
    "h2",
    "body",
    "html",
];

/// Elements inside a line.
const INLINE: [&str; 14] = [
    "wbr", "span", "b", "i", "a", "em", "strong", "font", "code", "tt", "u", "s", "mark", "samp",
];

/// Maximum length of a tag with its attributes.
const TAG_MAX: usize = 1024;

/// Entities of the characters that armor consists of, and of spaces. All others stay.
const ENTITIES: [(&str, &str); 24] = [
    ("plus", "+"),
    ("sol", "/"),
    ("equals", "="),
    ("hyphen", "-"),
    ("dash", "-"),
    ("lowbar", "_"),
    ("lt", "<"),
    ("LT", "<"),
    ("gt", ">"),
    ("GT", ">"),
    ("amp", "&"),
    ("AMP", "&"),
    ("quot", "\""),
    ("QUOT", "\""),
    ("apos", "'"),
    ("colon", ":"),
    ("period", "."),
    ("bsol", "\\"),
    ("percnt", "%"),
    ("num", "#"),
    ("nbsp", "\u{a0}"),
    ("NewLine", "\n"),
    ("Tab", "\t"),
    ("shy", "\u{ad}"),
];

/// Maximum length of an entity between `&` and `;`.
const ENTITY_MAX: usize = 10;

/// Replaces tags of lines by line breaks, together with a line break after them, and removes tags inside lines. Text in
/// angle brackets that is not a known tag, such as a mail address, stays.
pub(super) fn tags(text: &[u8]) -> Option<Vec<u8>> {
    // If no tag is closed within the maximum, the text need not be searched again for each `<`.
    let mut open_until = 0;
    replace_at(text, b'<', |at, plain| {
        let inside = &text[at + 1..];
        let name = inside.strip_prefix(b"/").unwrap_or(inside);
        let letters = name
            .iter()
            .take(ENTITY_MAX)
            .take_while(|c| c.is_ascii_alphanumeric());
        let name = &name[..letters.count()];
        let is_known = |names: &[&str]| {
            names
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        };
        let is_block = is_known(&BLOCKS);
        if at < open_until || !is_block && !is_known(&INLINE) {
            return 0;
        }
        let near = &inside[..inside.len().min(TAG_MAX)];
        let Some(close) = memchr::memchr(b'>', near) else {
            open_until = at + near.len();
            return 0;
        };
        let tag = 1 + close + 1;
        if !is_block {
            return tag;
        }
        plain.push(b'\n');
        tag + line_break(&text[at + tag..])
    })
}

/// Replaces entities by number and by name.
pub(super) fn entities(text: &[u8]) -> Option<Vec<u8>> {
    replace_at(text, b'&', |at, plain| {
        let near = &text[at + 1..text.len().min(at + 2 + ENTITY_MAX)];
        let Some(end) = memchr::memchr(b';', near) else {
            return 0;
        };
        let known = match &near[..end] {
            [b'#', b'x' | b'X', digits @ ..] => {
                number(digits, 16).map(|code| push_character(code, plain))
            }
            [b'#', digits @ ..] => number(digits, 10).map(|code| push_character(code, plain)),
            name => ENTITIES
                .iter()
                .find(|(known, _)| known.as_bytes() == name)
                .map(|(_, character)| plain.extend_from_slice(character.as_bytes())),
        };
        match known {
            Some(()) => end + 2,
            None => 0,
        }
    })
}
