//! The transformations of the test: what programs and people do to a message.

use super::{Random, armored, base64, hex, message, wrapped};

/// A text that contains the message.
pub(super) struct Text {
    pub(super) text: String,
    pub(super) message: Vec<u8>,
}

pub(super) type Transform = fn(&mut Random, &Text) -> Option<String>;

/// Returns the text with each of its lines changed.
fn each_line(text: &Text, change: impl Fn(&str) -> String) -> String {
    text.text.lines().map(change).collect()
}

/// Returns the text with the armor of the message replaced. Returns `None` if the armor is not there, because an earlier
/// transformation changed it.
fn replace_armor(text: &Text, change: impl FnOnce(Vec<String>) -> String) -> Option<String> {
    let lines = armored(&text.message);
    let (before, after) = text.text.split_once(&lines.concat())?;
    Some([before, &change(lines), after].concat())
}

/// Returns the text with the lines of data in the armor of the message replaced.
fn replace_data(text: &Text, change: impl FnOnce(&str) -> String) -> Option<String> {
    replace_armor(text, |lines| {
        let data = lines[2..lines.len() - 2].concat();
        [
            &lines[0],
            "\n",
            &change(&data),
            &lines[lines.len() - 2..].concat(),
        ]
        .concat()
    })
}

fn escape_each(
    text: &str,
    random: &mut Random,
    escape: impl Fn(&mut Random, char) -> Option<String>,
) -> String {
    text.chars()
        .map(|c| escape(random, c).unwrap_or_else(|| c.to_string()))
        .collect()
}

fn json(random: &mut Random, text: &str) -> String {
    let all = random.once_in(2);
    escape_each(text, random, |random, c| match c {
        '\n' => Some("\\n".into()),
        '\r' => Some("\\r".into()),
        '\t' => Some("\\t".into()),
        '"' | '\\' => Some(format!("\\{c}")),
        '/' if all => Some("\\/".into()),
        '+' | '<' | '>' | '&' | '=' if all => Some(format!("\\u{:04x}", u32::from(c))),
        c if !c.is_ascii() && all && c.len_utf16() == 1 => Some(format!("\\u{:04X}", u32::from(c))),
        c if all && random.once_in(50) && c.len_utf16() == 1 => {
            Some(format!("\\u{:04x}", u32::from(c)))
        }
        _ => None,
    })
}

fn percent(random: &mut Random, text: &str) -> String {
    let all = random.once_in(2);
    let upper = random.once_in(2);
    let mut encoded = String::new();
    for byte in text.bytes() {
        let keep = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'~')
            || !all && byte == b'/';
        match (keep, upper) {
            (true, _) => encoded.push(char::from(byte)),
            (false, true) => encoded.extend(["%", &hex(&[byte]).to_uppercase()]),
            (false, false) => encoded.extend(["%", &hex(&[byte])]),
        }
    }
    encoded
}

fn quoted_printable(text: &str) -> String {
    const WIDTH: usize = 76;
    let mut encoded = String::new();
    for line in text.split_inclusive('\n') {
        let mut width = 0;
        for byte in line.bytes() {
            let character = match byte {
                b'\n' | b' '..=b'<' | b'>'..=b'~' => char::from(byte).to_string(),
                _ => format!("={byte:02X}"),
            };
            if byte != b'\n' && width + character.len() >= WIDTH {
                encoded += "=\n";
                width = 0;
            }
            width += character.len();
            encoded += &character;
        }
    }
    encoded
}

/// Returns a paragraph of words, numbers and names.
pub(in super::super) fn prose(random: &mut Random, words: usize) -> String {
    const WORDS: [&str; 40] = [
        "the",
        "message",
        "please",
        "find",
        "attached",
        "password",
        "here",
        "is",
        "what",
        "you",
        "asked",
        "hello",
        "world",
        "jA0",
        "hQEMA",
        "key",
        "question",
        "yesterday",
        "https://example.org/a/b-c_d?e=f&g=h",
        "bob@example.org",
        "100%",
        "a+b",
        "C:\\new\\table",
        "(see",
        "below)",
        "–",
        "naïve",
        "GnuPG",
        "PGP",
        "wQ",
        "yesterday's",
        "2024-01-02",
        "<b>",
        "R&D",
        "x=y",
        "“quoted”",
        "#1",
        "who",
        "question",
        "12345678",
    ];
    let mut prose = String::new();
    for word in 0..words {
        prose += random.one_of(&WORDS);
        prose += match random.below(12) {
            0 => ".\n",
            1 => ", ",
            2 if word % 4 == 0 => ".\n\n",
            _ => " ",
        };
    }
    prose + "\n"
}

fn key_block() -> String {
    format!(
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ0aAABYJKwYBBAHaRw8BAQdA{}\n-----END PGP PUBLIC KEY BLOCK-----\n",
        base64(&[7; 24])
    )
}

fn pem(random: &mut Random) -> String {
    let data = wrapped(&base64(&random.bytes(600)), 64).concat();
    let label = random.one_of(&["CERTIFICATE", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY"]);
    format!("-----BEGIN {label}-----\n{data}-----END {label}-----\n")
}

/// One transformation for each kind of the contract.
pub(super) const TRANSFORMS: [(&str, Transform); 42] = [
    ("nothing", |_, t| Some(t.text.clone())),
    ("blank line after BEGIN", |_, t| {
        replace_armor(t, |lines| {
            lines
                .concat()
                .replacen("-----\n", "-----\n\nVersion: 1\n", 1)
        })
    }),
    ("no blank line", |random, t| {
        let header = random.one_of(&["", "Version: GnuPG v2\n", "Comment: a: b\nHash: x\n"]);
        replace_armor(t, |lines| {
            [&lines[0], header, &lines[2..].concat()].concat()
        })
    }),
    ("any headers", |random, t| {
        let header = prose(random, 12).replace(['\n', '\r'], " ");
        replace_armor(t, |lines| {
            [
                &lines[0],
                "Comment: ",
                &header,
                "\nX: ",
                &header,
                "\n",
                &lines[1..].concat(),
            ]
            .concat()
        })
    }),
    ("trailing spaces", |random, t| {
        let blanks = random.one_of(&[" ", "  ", "\t", "\u{a0}"]);
        Some(each_line(t, |line| format!("{line}{blanks}\n")))
    }),
    ("indentation", |_, t| {
        Some(each_line(t, |line| format!("    {line}\n")))
    }),
    ("tabs", |_, t| {
        Some(each_line(t, |line| format!("\t{line}\n")))
    }),
    ("quoting", |random, t| {
        let mark = random.one_of(&["> ", ">", "> > ", ">>", "| "]);
        Some(each_line(t, |line| format!("{mark}{line}\n")))
    }),
    ("CRLF", |_, t| {
        Some(each_line(t, |line| format!("{line}\r\n")))
    }),
    ("CR", |_, t| Some(t.text.replace('\n', "\r"))),
    ("empty lines", |_, t| {
        Some(each_line(t, |line| format!("{line}\n\n")))
    }),
    ("byte order mark", |_, t| {
        Some(format!("\u{feff}{}", t.text))
    }),
    ("checksum glued", |_, t| {
        replace_armor(t, |lines| lines.concat().replace("\n=", "="))
    }),
    ("checksum after a space", |_, t| {
        replace_armor(t, |lines| lines.concat().replace("\n=", " ="))
    }),
    ("checksum without sign", |_, t| {
        replace_armor(t, |lines| lines.concat().replace("\n=", ""))
    }),
    ("checksum missing", |_, t| {
        replace_armor(t, |mut lines| {
            lines.remove(lines.len() - 2);
            lines.concat()
        })
    }),
    ("checksum wrong", |_, t| {
        replace_armor(t, |mut lines| {
            let at = lines.len() - 2;
            lines[at] = "=AAAA\n".to_owned();
            lines.concat()
        })
    }),
    ("END missing", |_, t| {
        replace_armor(t, |mut lines| {
            lines.pop();
            lines.concat()
        })
    }),
    ("another label", |random, t| {
        let label = random.one_of(&[
            "PGP PUBLIC KEY BLOCK",
            "PGP SIGNED MESSAGE",
            "CERTIFICATE",
            "X",
        ]);
        replace_armor(t, |lines| lines.concat().replace("PGP MESSAGE", label))
    }),
    ("text around", |random, t| {
        let (before, after) = (random.below(200), random.below(100));
        Some([&prose(random, before), &t.text, "\n", &prose(random, after)].concat())
    }),
    ("text that mentions BEGIN", |random, t| {
        let (before, after) = (random.below(50), random.below(50));
        let mention = [
            prose(random, before),
            "-----BEGIN PGP MESSAGE----- ".into(),
            prose(random, after),
        ]
        .concat();
        Some([&mention, "\n", &t.text].concat())
    }),
    ("key above", |_, t| Some(key_block() + &t.text)),
    ("PEM above", |random, t| Some(pem(random) + &t.text)),
    ("another message above", |random, t| {
        let other = armored(&message(random)).concat();
        Some(other + "\n" + &t.text)
    }),
    ("another message below", |random, t| {
        let other = armored(&message(random)).concat();
        Some([&t.text, "\n", &other].concat())
    }),
    ("JSON line breaks", |_, t| Some(t.text.replace('\n', "\\n"))),
    ("JSON", |random, t| {
        Some(format!("\"{}\"", json(random, &t.text)))
    }),
    ("JSON twice", |random, t| {
        let once = format!("{{\"message\": \"{}\"}}", json(random, &t.text));
        Some(json(random, &once))
    }),
    ("one line", |_, t| Some(t.text.replace('\n', " "))),
    ("no line breaks", |_, t| Some(t.text.replace('\n', ""))),
    ("bare base64", |random, t| {
        let width = [64, 76, 1 << 20][random.below(3)];
        replace_armor(t, |_| wrapped(&base64(&t.message), width).concat())
    }),
    ("HTML lines", |random, t| {
        let (before, after) = [
            ("", "<br>\n"),
            ("", "<br/>"),
            ("<p>", "</p>\n"),
            ("<div>", "</div>"),
        ][random.below(4)];
        let escaped = t
            .text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let lines = escaped.lines().map(|line| [before, line, after].concat());
        Some(lines.collect())
    }),
    ("entities", |random, t| {
        Some(escape_each(&t.text, random, |random, c| {
            let name = match c {
                '+' => "plus",
                '/' => "sol",
                '=' => "equals",
                '&' => "amp",
                '<' => "lt",
                '>' => "gt",
                '"' => "quot",
                _ => "",
            };
            match (name, random.below(3)) {
                ("", _) => None,
                (_, 0) => Some(format!("&#{};", u32::from(c))),
                (_, 1) => Some(format!("&#x{:X};", u32::from(c))),
                (name, _) => Some(format!("&{name};")),
            }
        }))
    }),
    ("percent-encoding", |random, t| {
        Some(percent(random, &t.text))
    }),
    ("form", |random, t| {
        let encoded = percent(random, &t.text).replace("%20", "+");
        Some(format!("passphrase=x&message={encoded}"))
    }),
    ("base64url", |_, t| {
        replace_data(t, |data| {
            data.replace('+', "-").replace('/', "_").replace('=', "")
        })
    }),
    ("base64 of the text", |random, t| {
        let width = [64, 76, 1 << 20][random.below(3)];
        Some(wrapped(&base64(t.text.as_bytes()), width).concat())
    }),
    ("base64url of the text", |_, t| {
        Some(
            base64(t.text.as_bytes())
                .replace('+', "-")
                .replace('/', "_")
                .replace('=', ""),
        )
    }),
    ("hex", |random, t| {
        let prefix = random.one_of(&["", "\\x", "0x"]);
        replace_armor(t, |_| [prefix, &hex(&t.message), "\n"].concat())
    }),
    ("hex of the text", |random, t| {
        let prefix = random.one_of(&["", "\\x"]);
        Some([prefix, &hex(t.text.as_bytes()), "\n"].concat())
    }),
    ("quoted-printable", |_, t| Some(quoted_printable(&t.text))),
    ("plus as space", |_, t| {
        // The lengths of fewer lines do not show which spaces are missing.
        const LINES_MIN: usize = 5;
        (t.message.len() > LINES_MIN * 48).then(|| t.text.replace('+', " "))
    }),
];
