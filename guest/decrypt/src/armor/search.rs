//! Looks for messages in one block of a text.

use super::base64::{self, is_digit, is_skipped};
use super::blocks::{Block, Label};
use super::data::{Damage, DamageKind, Data, read};
use super::escapes::line_break;
use super::lines::restore_plus;
use super::{Codec, hex};
use crate::survey;

/// Minimum number of digits of a word that may be the base64 or hexadecimal form of text. Shorter lines are not written by
/// any program.
const TEXT_WORD_MIN: usize = 16;

/// Maximum number of bytes of a character in UTF-8, which may be incomplete at the end of decoded bytes.
const CHARACTER_BYTES_MAX: usize = 4;

/// Minimum number of bytes of a text that may contain a message.
const TEXT_BYTES_MIN: usize = 32;

/// Minimum number of digits at the beginning of hexadecimal data.
const HEX_WORD_MIN: usize = 8;

/// Maximum length of the packets in front of a recognisable session-key packet.
const SKIPPED_BYTES_MAX: usize = 512;

/// Minimum number of digits of a word that is data, in a block that says that it contains a message.
const DATA_WORD_MIN: usize = 16;

/// Minimum number of well-formed bytes in front of damage that show that data without BEGIN was a message.
const EVIDENCE_BYTES_MIN: usize = 32;

/// The contents of a block.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) found: Vec<Found>,
    /// Data that is text, which may contain messages.
    pub(super) nested: Vec<Vec<u8>>,
    /// Whether a message would begin somewhere if spaces were plus signs.
    has_spaces: bool,
    is_damaged: bool,
}

/// A part of a block. The offsets of damage are in the content of the block.
pub(super) enum Found {
    Message {
        bytes: Vec<u8>,
        trailing: bool,
        /// Whether more data follows, so that the message may be longer than it seems.
        is_followed: bool,
        /// Whether the data has several lines with spaces inside, which may have been plus signs.
        has_spaces: bool,
    },
    Damaged(Damage),
    Unencrypted,
    Key,
    HeadersTooLong(usize),
}

/// Returns the contents of `block`.
pub(super) fn search(block: &Block<'_>, header_bytes_max: usize) -> Contents {
    let header_bytes_max = block.label.map(|_| header_bytes_max);
    let contents = Contents::of(block.content, header_bytes_max, Positions::All);
    let is_empty = contents.found.is_empty() && contents.nested.is_empty();
    let is_doubtful = contents.has_spaces || contents.found.iter().any(Found::is_doubtful);
    let has_spaces = |found: &Found| {
        matches!(
            found,
            Found::Message {
                has_spaces: true,
                ..
            }
        )
    };
    if is_doubtful || contents.found.iter().any(has_spaces) || is_empty && announces_spaces(block) {
        for restored in restore_plus(block.content) {
            let restored = Contents::of(&restored, header_bytes_max, Positions::WordStarts);
            let fits = |restored: &Contents| {
                restored.has_message()
                    && (is_doubtful || is_empty || !restored.found.iter().any(Found::is_doubtful))
            };
            if fits(&restored) {
                return restored;
            }
        }
    }
    // Text inside of readable data is not a text of its own.
    let announced = block.label.and_then(|label| announced(block, label));
    match announced {
        Some(found) if is_empty || contents.found.is_empty() && !found.is_doubtful() => Contents {
            found: vec![found],
            ..Contents::default()
        },
        _ => contents,
    }
}

impl Contents {
    /// Looks for the beginnings of messages in `text`.
    fn of(text: &[u8], header_bytes_max: Option<usize>, positions: Positions) -> Self {
        let mut contents = Self::default();
        let mut at = 0;
        let mut is_word_start = true;
        // Packets in front of a message have been followed up to here.
        let mut followed_until = 0;
        let mut has_doubt = false;
        // Only spaces are between this word and the one before it.
        let mut is_behind_word = false;
        while let Some(&c) = text.get(at) {
            if !is_digit(c) {
                is_word_start = true;
                is_behind_word &= c == b' ';
                at += 1;
                continue;
            }
            if !is_word_start && positions == Positions::WordStarts {
                at += 1;
                continue;
            }
            let rest = &text[at..];
            // Only the first damage of announced data is reported.
            let is_strict = header_bytes_max.is_none() || contents.is_damaged;
            let mut hit = None;
            if is_word_start || is_first_digit(rest) {
                let may_be_skipped = is_word_start && at >= followed_until;
                let probe = Probe::at(rest, is_word_start, may_be_skipped);
                hit = probe.hit(rest, is_strict);
                if hit.is_none() && may_be_skipped {
                    let followed;
                    (hit, followed) = behind_other_packets(rest, &probe.bytes);
                    followed_until = at + followed;
                }
            }
            if is_word_start && !is_behind_word && hit.is_none() && !contents.has_spaces {
                contents.has_spaces = begins_with_spaces(rest);
            }
            is_word_start = false;
            is_behind_word = true;
            let Some((hit, characters)) = hit else {
                at += 1;
                continue;
            };
            let mut is_doubtful = false;
            match hit {
                Hit::Text(nested) => contents.nested.push(nested),
                Hit::Data(data) => {
                    let headers = header_bytes_max
                        .filter(|_| contents.found.is_empty())
                        .map(|max| (header_bytes(&text[..at]), max));
                    let found = match headers {
                        Some((bytes, max)) if bytes > max => Found::HeadersTooLong(bytes),
                        _ => Found::from(data, at),
                    };
                    is_doubtful = found.is_doubtful();
                    contents.add(found);
                }
            }
            // The first damaged message may have swallowed the beginning of another one. It is read once more only, so
            // that the search takes linear time.
            let is_first_doubt = is_doubtful && !has_doubt;
            has_doubt |= is_doubtful;
            let line_end = || memchr::memchr2(b'\n', b'\r', &text[at..at + characters]);
            let line_end = is_first_doubt.then(line_end).flatten();
            at += line_end.map_or(characters, |end| end + 1);
            is_word_start = text.get(at.wrapping_sub(1)).is_none_or(|&c| !is_digit(c));
        }
        contents
    }

    /// Adds a part. Only the first damage is reported, so that a hostile text does not fill the memory with others.
    fn add(&mut self, found: Found) {
        let is_damaged = matches!(found, Found::Damaged(_));
        if !is_damaged || !self.is_damaged {
            self.found.push(found);
        }
        self.is_damaged |= is_damaged;
    }

    fn has_message(&self) -> bool {
        let is_message = |found: &Found| matches!(found, Found::Message { .. });
        self.found.iter().any(is_message) || !self.nested.is_empty()
    }
}

impl Found {
    /// Returns whether the data shows that characters are missing.
    fn is_doubtful(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Message { is_followed, .. } => *is_followed,
            Self::Unencrypted | Self::Key | Self::HeadersTooLong(_) => false,
        }
    }

    /// `at` is the offset of the data.
    fn from(data: Data, at: usize) -> Self {
        match data {
            Data::Message {
                bytes,
                trailing,
                is_followed,
                has_spaces,
            } => Self::Message {
                bytes,
                trailing,
                is_followed,
                has_spaces,
            },
            Data::Unencrypted => Self::Unencrypted,
            Data::Key => Self::Key,
            Data::Damaged(damage) => Self::Damaged(damage.behind(at)),
        }
    }
}

/// The positions at which a message may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Positions {
    All,
    /// The first digit of each word. Restored plus signs join the words of a line.
    WordStarts,
}

/// Something at a position of a text.
enum Hit {
    Data(Data),
    Text(Vec<u8>),
}

/// The first bytes of the data that may begin at a position of a text.
struct Probe {
    bytes: base64::Probe,
    is_word_start: bool,
    /// Whether the data may be text in base64.
    is_long: bool,
}

impl Probe {
    /// Decodes the first characters of `text` if something may begin there, or a packet that may be skipped.
    fn at(text: &[u8], is_word_start: bool, may_be_skipped: bool) -> Self {
        let is_long = is_word_start
            && text.len() >= TEXT_WORD_MIN
            && text[..TEXT_WORD_MIN].iter().all(|&c| is_digit(c));
        let bytes = base64::probe(text, |first| {
            is_long
                || survey::may_begin_message(first)
                || may_be_skipped && survey::may_be_skippable(first)
        });
        Self {
            bytes,
            is_word_start,
            is_long,
        }
    }

    /// Returns what begins at the first character of `text`, and its number of characters.
    fn hit(&self, text: &[u8], is_strict: bool) -> Option<(Hit, usize)> {
        let word = || word(text, &self.bytes, self.is_long);
        message(text, &self.bytes, is_strict).or_else(|| self.is_word_start.then(word).flatten())
    }
}

/// Returns whether the first digit of `text` may be that of a session-key or marker packet.
fn is_first_digit(text: &[u8]) -> bool {
    matches!(text.first(), Some(b'j' | b'h' | b'w' | b'y' | b'q'))
}

/// Returns the message in base64 at the beginning of `text`, and its number of characters. If `is_strict`, a few bytes
/// that look like a message by coincidence do not count. Without BEGIN they are not evidence of a message.
fn message(text: &[u8], probe: &[u8], is_strict: bool) -> Option<(Hit, usize)> {
    if !survey::begins_message(probe) || is_strict && !survey::is_followed_by_packet(probe) {
        return None;
    }
    let (data, characters) = read::<base64::Run<'_>>(text);
    let is_coincidence = |damage: &Damage| is_strict && damage.byte < EVIDENCE_BYTES_MIN;
    match data {
        Data::Damaged(damage) if is_coincidence(&damage) => None,
        data => Some((Hit::Data(data), characters)),
    }
}

/// Returns whether `text` is the beginning of a message in base64 if spaces are plus signs.
fn begins_with_spaces(text: &[u8]) -> bool {
    let near = &text[..text.len().min(survey::PROBE_BYTES)];
    is_first_digit(text) && memchr::memchr(b' ', near).is_some() && {
        let probe = base64::probe_spaces(near, survey::may_begin_message);
        survey::begins_message(&probe) && survey::is_followed_by_packet(&probe)
    }
}

/// Returns data at the beginning of a word that only counts there: hexadecimal data, and text in base64 or hexadecimal
/// form. `is_long` says whether the word may be text in base64.
fn word(text: &[u8], probe: &[u8], is_long: bool) -> Option<(Hit, usize)> {
    if let Some(hit) = hexadecimal(text) {
        return Some(hit);
    }
    if is_long && text_bytes(probe) + CHARACTER_BYTES_MAX > probe.len() {
        return nested::<base64::Run<'_>>(text, 0, base64::is_digit);
    }
    None
}

fn hexadecimal(text: &[u8]) -> Option<(Hit, usize)> {
    let is_hex = |c: u8| hex::value(c).is_some();
    // PostgreSQL prints \x, and programs print 0x.
    let prefix = match text {
        [b'x', ..] => 1,
        [b'0', b'x', ..] => 2,
        _ => 0,
    };
    let digits = &text[prefix..];
    let word = digits.iter().take(HEX_WORD_MIN).take_while(|&&c| is_hex(c));
    if word.count() < HEX_WORD_MIN {
        return None;
    }
    let mut run = hex::Run::new(digits);
    run.fill(survey::PROBE_BYTES);
    if survey::begins_message(run.bytes()) {
        let (data, characters) = read::<hex::Run<'_>>(digits);
        let data = match data {
            Data::Damaged(damage) => Data::Damaged(damage.behind(prefix)),
            data => data,
        };
        return Some((Hit::Data(data), prefix + characters));
    }
    nested::<hex::Run<'_>>(text, prefix, is_hex)
}

/// Returns the text whose encoded form begins behind `prefix` characters.
fn nested<'a, C: Codec<'a>>(
    text: &'a [u8],
    prefix: usize,
    is_digit: impl Fn(u8) -> bool,
) -> Option<(Hit, usize)> {
    let digits = &text[prefix..];
    let mut word = digits.iter().take(TEXT_WORD_MIN);
    if digits.len() < TEXT_WORD_MIN || !word.all(|&c| is_digit(c)) {
        return None;
    }
    let mut run = C::new(digits);
    let mut wanted = TEXT_BYTES_MIN;
    let len = loop {
        run.fill(wanted);
        let len = text_bytes(run.bytes());
        if run.end().is_some() || len + CHARACTER_BYTES_MAX <= run.bytes().len() {
            break len;
        }
        wanted *= 4;
    };
    if len < TEXT_BYTES_MIN {
        return None;
    }
    let characters = prefix + C::characters(digits, len);
    Some((Hit::Text(run.into_bytes(len)), characters))
}

/// Returns the length of the text at the beginning of `bytes`: UTF-8 without control characters.
fn text_bytes(bytes: &[u8]) -> usize {
    let is_control = |c: &u8| *c < 0x20 && !matches!(c, 9..=13) || *c == 0x7f;
    let plain = bytes.iter().position(is_control).unwrap_or(bytes.len());
    match str::from_utf8(&bytes[..plain]) {
        Ok(_) => plain,
        Err(error) => error.valid_up_to(),
    }
}

/// Returns a message whose first packets are padding, private or session-key packets of unknown kinds. The second result is
/// the number of characters that were decoded. `probe` has the first bytes.
fn behind_other_packets(text: &[u8], probe: &[u8]) -> (Option<(Hit, usize)>, usize) {
    let mut begin = match survey::skippable_packet(probe) {
        Some(begin) if survey::is_followed_by_packet(probe) => begin,
        _ => return (None, 0),
    };
    let mut run = base64::Run::new(text);
    while begin <= SKIPPED_BYTES_MAX {
        run.fill(begin + survey::PROBE_BYTES);
        let rest = run.bytes().get(begin..).unwrap_or_default();
        if survey::begins_message(rest) {
            let (data, characters) = read::<base64::Run<'_>>(text);
            return (Some((Hit::Data(data), characters)), characters);
        }
        match survey::skippable_packet(rest) {
            Some(bytes) => begin += bytes,
            None => break,
        }
    }
    let decoded = run.bytes().len();
    (None, base64::Run::characters(text, decoded))
}

/// Returns the number of bytes up to the first empty line, or of all of `text`.
fn header_bytes(text: &[u8]) -> usize {
    // The rest of the BEGIN line does not count as a header.
    let from = memchr::memchr(b'\n', text).map_or(0, |at| at + 1);
    let headers = &text[from..];
    let find = |empty: &[u8]| memchr::memmem::find(headers, empty);
    find(b"\n\n")
        .into_iter()
        .chain(find(b"\n\r\n"))
        .min()
        .unwrap_or(headers.len())
}

/// Returns what BEGIN announced, if the block has no encrypted message that can be recognised without it.
fn announced(block: &Block<'_>, label: Label) -> Option<Found> {
    let text = block.content;
    let is_message = label == Label::Message;
    if !is_message && label != Label::Key {
        return None;
    }
    let start = data_start(text);
    let data = &text[start..];
    let first_line = line(data);
    let digits = first_line.iter().filter(|&&c| is_digit(c)).count();
    let mut behind = data[data.len().min(first_line.len())..].iter();
    let is_cut = block.is_complete && behind.all(|&c| is_skipped(c) || c == b'=');
    let is_data = is_word_of_data(first_line);
    if is_data && (digits >= DATA_WORD_MIN || is_cut) {
        if survey::begins_packet(&base64::probe(first_line, |_| true)) {
            match read::<base64::Run<'_>>(data).0 {
                Data::Damaged(_) if !is_message => {}
                data => return Some(Found::from(data, start)),
            }
        }
        let damage = unreadable(first_line).behind(start);
        return is_message.then_some(Found::Damaged(damage));
    }
    // The data is not on a line of its own. Words may look like its beginning, but not like all of it.
    let mut searched = 0;
    for at in word_starts(text) {
        let word = &text[at..];
        let digits = word
            .iter()
            .take(DATA_WORD_MIN)
            .take_while(|&&c| is_digit(c));
        if at < searched
            || digits.count() < DATA_WORD_MIN
            || !survey::begins_packet(&base64::probe(word, |_| true))
        {
            continue;
        }
        match read::<base64::Run<'_>>(word) {
            (Data::Damaged(_), characters) => searched = at + characters,
            (data, _) => return Some(Found::from(data, at)),
        }
    }
    None
}

/// Returns whether a packet begins behind BEGIN if spaces are plus signs.
fn announces_spaces(block: &Block<'_>) -> bool {
    let data = &block.content[data_start(block.content)..];
    let near = &data[..data.len().min(survey::PROBE_BYTES)];
    block.label.is_some() && survey::begins_packet(&base64::probe_spaces(near, |_| true))
}

/// Returns the damage of data that begins with no packet.
fn unreadable(line: &[u8]) -> Damage {
    let word = line.iter().take_while(|&&c| is_digit(c)).count();
    if word >= DATA_WORD_MIN {
        Damage::at_start(DamageKind::Packet)
    } else if word < line.trim_ascii_end().len() {
        Damage::at_start(DamageKind::Character).behind(word)
    } else {
        Damage::at_start(DamageKind::Cut)
    }
}

/// Returns the first line of `text`, without its line break and blanks around it.
fn line(text: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len());
    text[..end].trim_ascii()
}

/// Returns whether `line` has no blanks inside, and at most one character that is not a digit, except padding.
fn is_word_of_data(line: &[u8]) -> bool {
    let is_blank = |c: u8| c < 0x80 && is_skipped(c);
    let padding = line.iter().rev().take_while(|&&c| c == b'=').count();
    let word = &line[..line.len() - padding];
    let strays = word.iter().filter(|&&c| !is_digit(c) && !is_skipped(c));
    !word.iter().any(|&c| is_blank(c)) && strays.count() <= 1
}

/// Returns the offset of the first digit behind the headers: behind the first empty line, or on the first line that is
/// not a header.
fn data_start(text: &[u8]) -> usize {
    let mut at = text
        .iter()
        .position(|&c| matches!(c, b'\n' | b'\r'))
        .unwrap_or(0);
    at += line_break(&text[at..]);
    let mut has_header = false;
    while at < text.len() {
        let rest = &text[at..];
        let len = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let blank = rest[..len].iter().take_while(|&&c| is_skipped(c)).count();
        let is_header = memchr::memchr(b':', &rest[..len]).is_some();
        if blank < len && !is_header || blank == len && has_header {
            let skipped = rest.iter().take_while(|&&c| is_skipped(c)).count();
            return at + skipped;
        }
        has_header |= is_header;
        at += len + line_break(&rest[len..]).max(1);
    }
    text.len()
}

/// Returns the offsets at which a word begins.
fn word_starts(text: &[u8]) -> impl Iterator<Item = usize> {
    (0..text.len()).filter(|&at| is_digit(text[at]) && (at == 0 || is_skipped(text[at - 1])))
}
