//! Plus signs that became spaces, as in a form whose text was not percent-encoded.
//!
//! The lines of base64 data have equal lengths, except the last one. If spaces inside of lines make their lengths equal,
//! each of the spaces was a plus sign.

use super::base64::{is_digit, is_skipped};
use super::escapes::line_break;

/// Minimum length of a line whose spaces may have been plus signs.
const LINE_MIN: usize = 16;

/// Number of characters that may be in short lines, in addition.
const LINES_FREE: usize = 4096;

/// Number of plus signs at the end of a line that may be missing, because programs remove spaces there.
const END_MISSING_MAX: usize = 3;

/// Number of lines from which on their maximum length is known to be that of all. With fewer lines it is a multiple of four.
const LINES_ENOUGH: usize = 3;

/// Restores plus signs in `text`. Returns two results if empty lines are between other lines, because they may be between
/// the lines of data or may end them. Returns none if no line has a space inside.
pub(super) fn restore_plus(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    // Short lines are not data, and a hostile text may have very many of them.
    let breaks = memchr::memchr2_iter(b'\n', b'\r', text).count();
    let lines = if breaks * LINE_MIN > text.len() + LINES_FREE {
        Vec::new()
    } else {
        lines(text)
    };
    let filled: Vec<_> = lines
        .iter()
        .filter(|line| !line.is_empty())
        .copied()
        .collect();
    let is_empty = |line: &&Line<'_>| line.is_empty();
    let around =
        lines.iter().take_while(is_empty).count() + lines.iter().rev().take_while(is_empty).count();
    let has_empty_lines = filled.len() + around < lines.len();
    let variants = [Some(filled), has_empty_lines.then_some(lines)];
    let variants = variants.into_iter().flatten();
    variants.filter_map(|lines| with_plus(&lines))
}

/// Returns the text of `lines` with plus signs, or `None` if no line has a space inside.
fn with_plus(lines: &[Line<'_>]) -> Option<Vec<u8>> {
    let bytes: usize = lines.iter().map(|line| line.text.len() + 1).sum();
    let mut restored = Vec::with_capacity(bytes + bytes / 16);
    let mut any = false;
    let mut rest = lines;
    while let Some(line) = rest.first() {
        let group = group(rest);
        if group.len() == 0 {
            restored.extend_from_slice(line.text);
            restored.push(b'\n');
            rest = &rest[1..];
            continue;
        }
        let (lines, after) = rest.split_at(group.len());
        let contents = lines.iter().map(|line| &line.text[group.prefix..line.end]);
        let has_spaces = contents.clone().any(|content| content.contains(&b' '))
            || lines.iter().any(|line| line.text.ends_with(b" "));
        any |= has_spaces;
        for (content, width) in contents.zip(group.widths()) {
            // Without a space, the lines have the lengths that they had.
            let width = if has_spaces { width } else { 0 };
            let plain = content
                .iter()
                .map(|&c| if c == b' ' { b'+' } else { c })
                .chain(std::iter::repeat(b'+'))
                .take(width.max(content.len()));
            restored.extend(plain);
            restored.push(b'\n');
        }
        rest = after;
    }
    any.then_some(restored)
}

#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a [u8],
    /// Number of blanks and quotation marks in front.
    prefix: usize,
    /// End without blanks behind.
    end: usize,
    /// Whether the line has nothing but digits, spaces and padding.
    is_data: bool,
}

impl Line<'_> {
    fn is_empty(&self) -> bool {
        self.end <= self.prefix
    }

    fn width(&self, prefix: usize) -> usize {
        self.end - prefix
    }
}

fn lines(text: &[u8]) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut from = 0;
    while from < text.len() {
        let rest = &text[from..];
        let len = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let line = &rest[..len];
        let prefix = line.iter().take_while(|&&c| is_skipped(c)).count();
        // Only a checksum is behind padding.
        let data = &line[..memchr::memchr(b'=', line).map_or(len, |at| at + padding(&line[at..]))];
        let end = data.len() - data.iter().rev().take_while(|&&c| is_skipped(c)).count();
        let content = line.get(prefix..end).unwrap_or_default();
        // A checksum is not data.
        let is_data = content.first().is_some_and(|&c| is_digit(c))
            && content
                .iter()
                .all(|&c| is_digit(c) || matches!(c, b' ' | b'='));
        lines.push(Line {
            text: line,
            prefix,
            end,
            is_data,
        });
        from += len + line_break(&rest[len..]).max(1);
    }
    lines
}

/// Returns the length of the padding at the beginning of `text`. The sign of a checksum stands alone in front of its digits.
fn padding(text: &[u8]) -> usize {
    let signs = text.iter().take_while(|&&c| c == b'=').count();
    let is_checksum = signs == 1 && text.get(1).is_some_and(|&c| is_digit(c));
    if is_checksum { 0 } else { signs }
}

/// Lines of one length, and a shorter one after them.
struct Group {
    full: usize,
    has_last: bool,
    /// Number of characters in front of the data. A longer prefix begins with a plus sign.
    prefix: usize,
    width: usize,
    last_width: usize,
}

impl Group {
    fn len(&self) -> usize {
        self.full + usize::from(self.has_last)
    }

    fn widths(&self) -> impl Iterator<Item = usize> {
        std::iter::repeat_n(self.width, self.full).chain(self.has_last.then_some(self.last_width))
    }
}

/// Returns the group at the beginning of `lines`, which may be empty.
fn group(lines: &[Line<'_>]) -> Group {
    let first = lines[0].end.saturating_sub(lines[0].prefix);
    let near = |line: &Line<'_>| {
        let width = line.end.saturating_sub(line.prefix);
        line.is_data && width.abs_diff(first) <= END_MISSING_MAX
    };
    let full = match first {
        ..LINE_MIN => 0,
        _ => lines.iter().take_while(|line| near(line)).count(),
    };
    let last = lines
        .get(full)
        .filter(|line| full > 0 && line.is_data && line.end - line.prefix < first);
    let all = &lines[..full + usize::from(last.is_some())];
    let prefix = all.iter().map(|line| line.prefix).min().unwrap_or(0);
    // The last line may have a checksum behind the data.
    let longest = lines[..full.max(2) - 1]
        .iter()
        .map(|line| line.width(prefix))
        .max();
    let width = match longest.unwrap_or(0) {
        width if full >= LINES_ENOUGH => width,
        width => width.next_multiple_of(4),
    };
    let last_width = last.map_or(0, |line| {
        let width = line.width(prefix);
        if line.text[..line.end].ends_with(b"=") {
            width
        } else {
            width.next_multiple_of(4)
        }
    });
    Group {
        full,
        has_last: last.is_some(),
        prefix,
        width,
        last_width,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "jA0ECQMC+ady3RUy\nJw3X0kcBF+zdkh++\n+hhhhISoYBRwR3uk\n3vNv+TE+\n";

    #[track_caller]
    fn restores(text: &str) {
        let restored = restore_plus(text.as_bytes())
            .next()
            .expect("lines should have spaces");
        assert_eq!(String::from_utf8_lossy(&restored), LINES, "{text}");
    }

    #[test]
    fn spaces_of_lines_with_equal_lengths_become_plus_signs() {
        let spaced = LINES.replace('+', " ");
        restores(&spaced);
        restores(&spaced.replace(" \n", "\n"));
        restores(&spaced.replace('\n', "\r\n"));
        let quoted: Vec<_> = spaced.lines().map(|line| format!("> {line}\n")).collect();
        restores(&quoted.concat());
    }

    #[test]
    fn text_without_spaces_inside_of_lines_is_unchanged() {
        for text in [LINES, "Dear Bob,\n\nhere it is:\n"] {
            assert_eq!(restore_plus(text.as_bytes()).next(), None);
        }
    }
}
