//! The forms in which the same message arrives.

use super::dearmor;
use crate::refusal::Refusal;

const LIMIT: u32 = 65_536;
const SAMPLE: &str = include_str!("../sample.asc");
const DATA: &str = "jA0ECQMCVady3RUyJw3X0kcBF+zdkfZOMhISoYBRwR3uk3vNv+TEg+rJnp4/yYIS\n\
                    pEoI2S82cDiCNBIVAYWB8WKPtH2R2YSussKhpSJ4mFgqyOA01uwroA==";
const BEGIN: &str = "-----BEGIN PGP MESSAGE-----";
const END: &str = "-----END PGP MESSAGE-----";

fn message() -> Vec<u8> {
    let mut bytes = dearmor(SAMPLE.as_bytes(), LIMIT).expect("the sample should be decoded");
    // Remove the bytes of a checksum that was decoded together with the data.
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

/// Returns the sample with `prefix` in front of each line.
fn prefixed(prefix: &str) -> String {
    let lines: Vec<_> = SAMPLE.lines().map(|line| [prefix, line].concat()).collect();
    lines.join("\n")
}

#[test]
fn sample_has_88_bytes() {
    let bytes = dearmor(SAMPLE.as_bytes(), LIMIT).expect("the sample should be decoded");
    assert_eq!(bytes.len(), 88);
    assert_eq!(bytes[..4], [0x8c, 0x0d, 4, 9]);
}

#[test]
fn message_is_found_with_missing_or_additional_blank_lines() {
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
fn message_is_found_with_spaces_tabs_quotation_marks_and_byte_order_marks() {
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
fn message_is_found_with_every_kind_of_line_end() {
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
fn message_is_found_with_every_kind_of_checksum() {
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
fn message_is_found_with_damaged_or_missing_begin_and_end_lines() {
    opens(&SAMPLE.replace(END, ""));
    opens(&SAMPLE.replace("PGP MESSAGE", "PGP SIGNED MESSAGE"));
    opens(&SAMPLE.replace("BEGIN PGP MESSAGE-----", "BEGIN PGP MESSAGE"));
    opens(&SAMPLE.replace("-----BEGIN", "----BEGIN"));
    opens(DATA);
    opens(&DATA.replace('\n', ""));
    opens(&format!("{DATA}\n=KvJQ"));
}

#[test]
fn message_is_found_inside_other_text() {
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
fn other_text_and_truncated_messages_are_distinguished() {
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
fn header_limit_is_enforced() {
    let header = "Comment: 0123456789\n".repeat(50);
    let text = format!("{BEGIN}\n{header}\n{DATA}\n{END}\n");
    opens(&text);
    let Err(Refusal::TooCostly(excess)) = dearmor(text.as_bytes(), 500) else {
        panic!("the headers should exceed the limit");
    };
    assert_eq!((excess.asked, excess.allowed), (999, 500));
}

#[test]
fn text_full_of_plausible_positions_is_rejected_quickly() {
    // Each word passes the first check and fails at the end of a long text.
    let text = "jA0ECQMCVady3RUyJw3XAAAA ".repeat(100_000);
    assert!(dearmor(text.as_bytes(), LIMIT).is_err());
    let text = "-----BEGIN PGP MESSAGE-----\n".repeat(100_000);
    assert!(dearmor(text.as_bytes(), LIMIT).is_err());
}
