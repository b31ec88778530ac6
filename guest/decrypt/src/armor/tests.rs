//! The shapes in which one and the same message circulates.

use super::dearmor;
use crate::refusal::Refusal;

const LIMIT: u32 = 65_536;
const SAMPLE: &str = include_str!("../sample.asc");
const DATA: &str = "jA0ECQMCVady3RUyJw3X0kcBF+zdkfZOMhISoYBRwR3uk3vNv+TEg+rJnp4/yYIS\n\
                    pEoI2S82cDiCNBIVAYWB8WKPtH2R2YSussKhpSJ4mFgqyOA01uwroA==";
const BEGIN: &str = "-----BEGIN PGP MESSAGE-----";
const END: &str = "-----END PGP MESSAGE-----";

fn message() -> Vec<u8> {
    let mut bytes = dearmor(SAMPLE.as_bytes(), LIMIT).expect("the sample opens");
    // The checksum, if it was glued on.
    bytes.truncate(88);
    bytes
}

#[track_caller]
fn opens(text: &str) {
    match dearmor(text.as_bytes(), LIMIT) {
        Ok(bytes) => assert!(
            bytes.starts_with(&message()) && bytes.len() <= 91,
            "{text:?}"
        ),
        Err(refusal) => panic!("{refusal:?}: {text:?}"),
    }
}

/// The sample with something in front of each line.
fn prefixed(prefix: &str) -> String {
    let lines: Vec<_> = SAMPLE.lines().map(|line| [prefix, line].concat()).collect();
    lines.join("\n")
}

#[test]
fn the_sample_is_88_bytes() {
    let bytes = dearmor(SAMPLE.as_bytes(), LIMIT).expect("opens");
    assert_eq!(bytes.len(), 88);
    assert_eq!(bytes[..4], [0x8c, 0x0d, 4, 9]);
}

#[test]
fn blank_lines_are_where_they_should_not_be_or_are_missing() {
    opens(&format!(
        "{BEGIN}\n\nVersion: GnuPG v2\n\n{DATA}\n=KvJQ\n{END}\n"
    ));
    opens(&format!(
        "{BEGIN}\nVersion: GnuPG v2\n{DATA}\n=KvJQ\n{END}\n"
    ));
    opens(&format!("{BEGIN}\n{DATA}\n=KvJQ\n{END}\n"));
    opens(&SAMPLE.replace('\n', "\n\n"));
}

#[test]
fn blanks_tabs_quotes_and_byte_order_marks() {
    opens(&SAMPLE.replace('\n', "  \t\n"));
    opens(&prefixed("    "));
    opens(&prefixed("\t"));
    opens(&prefixed("> "));
    opens(&prefixed(">>"));
    opens(&prefixed("> > "));
    opens(&format!("\u{feff}{SAMPLE}"));
    opens(&SAMPLE.replace('\n', "\u{a0}\n"));
}

#[test]
fn line_ends_of_every_kind() {
    opens(&SAMPLE.replace('\n', "\r\n"));
    opens(&SAMPLE.replace('\n', "\r"));
    opens(&SAMPLE.replace('\n', "\\n"));
    opens(&SAMPLE.replace('\n', "\\r\\n"));
    opens(&SAMPLE.replace('\n', "\\\\n"));
    opens(&SAMPLE.replace('\n', " "));
    opens(&SAMPLE.replace('\n', ""));
    opens(
        &SAMPLE
            .replace('\n', "")
            .replace("Version", "Comment: a: b https://x.example/Version"),
    );
}

#[test]
fn checksums_of_every_kind() {
    for tail in [
        "uwroA==KvJQ",
        "uwroAKvJQ===",
        "uwroAKvJQ",
        "uwroA== =KvJQ",
        "uwroA==",
        "uwroA",
        "uwroA==\n=AAAA",
        "uwroA==\n=Kv",
        "uwroA=3D=3D\n=3DKvJQ",
    ] {
        let text = SAMPLE.replace("uwroA==\n=KvJQ", tail);
        opens(&text);
        opens(&text.replace('\n', ""));
    }
}

#[test]
fn frames_of_every_kind() {
    opens(&SAMPLE.replace(END, ""));
    opens(&SAMPLE.replace("PGP MESSAGE", "PGP SIGNED MESSAGE"));
    opens(&SAMPLE.replace("BEGIN PGP MESSAGE-----", "BEGIN PGP MESSAGE"));
    opens(&SAMPLE.replace("-----BEGIN", "----BEGIN"));
    opens(DATA);
    opens(&DATA.replace('\n', ""));
    opens(&format!("{DATA}\n=KvJQ"));
}

#[test]
fn text_around_the_message() {
    let mail = "From: a@example.org\nSubject: Re: your message: 1\n\n";
    opens(&format!("{mail}{SAMPLE}"));
    opens(&format!(
        "hello\n-----Original Message-----\n{SAMPLE}-- \nBob\n"
    ));
    opens(&format!("here it is: {DATA}"));
    opens(&format!("{SAMPLE}Best regards\nBob"));
    opens(&format!("{BEGIN}\n\n{DATA}\nBest regards, Bob\n"));
    let key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEAAAAABYJ\n-----END PGP PUBLIC KEY BLOCK-----\n";
    opens(&format!("{key}{SAMPLE}"));
}

#[test]
fn what_is_no_message_is_told_apart() {
    for text in [
        "",
        "hello",
        "-----BEGIN PGP MESSAGE-----",
        "aGVsbG8gd29ybGQ=",
        "\\",
        "====",
    ] {
        assert_eq!(
            dearmor(text.as_bytes(), LIMIT),
            Err(Refusal::NotOpenpgp),
            "{text:?}"
        );
    }
    let cut = &SAMPLE[..130];
    assert_eq!(dearmor(cut.as_bytes(), LIMIT), Err(Refusal::Undecryptable));
}

#[test]
fn headers_are_limited() {
    let header = "Comment: 0123456789\n".repeat(50);
    let text = format!("{BEGIN}\n{header}\n{DATA}\n{END}\n");
    opens(&text);
    let Err(Refusal::TooCostly(excess)) = dearmor(text.as_bytes(), 500) else {
        panic!("past the limit");
    };
    assert_eq!((excess.asked, excess.allowed), (999, 500));
}

#[test]
fn hostile_text_is_done_with_quickly() {
    // Each word passes the first look and fails at the end of a long text.
    let text = "jA0ECQMCVady3RUyJw3XAAAA ".repeat(100_000);
    assert!(dearmor(text.as_bytes(), LIMIT).is_err());
    let text = "-----BEGIN PGP MESSAGE-----\n".repeat(100_000);
    assert!(dearmor(text.as_bytes(), LIMIT).is_err());
}
