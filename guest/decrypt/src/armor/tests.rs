//! The forms in which the same message arrives, one by one. [`super::shapes`] combines them.

use super::{Evidence, Found, find};

const LIMIT: u32 = 65_536;
const SAMPLE: &str = include_str!("../sample.asc");
const DATA: &str = "jA0ECQMCVady3RUyJw3X0kcBF+zdkfZOMhISoYBRwR3uk3vNv+TEg+rJnp4/yYIS\n\
                    pEoI2S82cDiCNBIVAYWB8WKPtH2R2YSussKhpSJ4mFgqyOA01uwroA==";
const BEGIN: &str = "-----BEGIN PGP MESSAGE-----";
const END: &str = "-----END PGP MESSAGE-----";

fn message() -> Vec<u8> {
    let mut found = find(DATA.as_bytes(), LIMIT).found;
    match found.pop() {
        Some(Found::Message {
            bytes,
            trailing: false,
        }) if found.is_empty() => bytes,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn opens(text: &str) {
    let expected = Found::Message {
        bytes: message(),
        trailing: false,
    };
    assert_eq!(find(text.as_bytes(), LIMIT).found, [expected], "{text:?}");
}

/// Checks that `text` is damaged, and that the description contains `place`.
#[track_caller]
fn damaged(text: &str, place: &str) {
    match find(text.as_bytes(), LIMIT).found.as_slice() {
        [Found::Damaged(description)] if description.contains(place) => {}
        other => panic!("{other:?}: {text:?}"),
    }
}

/// Checks that `text` contains no message.
#[track_caller]
fn recognised(text: &str, evidence: Evidence) {
    let findings = find(text.as_bytes(), LIMIT);
    assert_eq!(findings.found, [], "{text:?}");
    assert_eq!(findings.evidence, evidence, "{text:?}");
}

/// Returns the sample with `prefix` in front of each line.
fn prefixed(prefix: &str) -> String {
    let lines: Vec<_> = SAMPLE.lines().map(|line| [prefix, line].concat()).collect();
    lines.join("\n")
}

#[test]
fn sample_has_88_bytes() {
    opens(SAMPLE);
    let bytes = message();
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
fn text_without_openpgp_data_contains_no_message() {
    for text in [
        "",
        "hello",
        "password",
        "please find attached",
        "aGVsbG8gd29ybGQ=",
        "\\",
        "====",
        "Copy all lines from -----BEGIN PGP MESSAGE----- on, please.",
        "-----BEGIN PGP MESSAGE-----\n\n(the message)\n\n-----END PGP MESSAGE-----\n",
        "pP9pZ2h0 hQ jA0 tag 9 yaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        recognised(text, Evidence::Nothing);
    }
    let prose = include_str!("../../../../LICENSE-APACHE");
    recognised(prose, Evidence::Nothing);
    recognised(include_str!("../armor.rs"), Evidence::Nothing);
}

#[test]
fn things_that_people_send_instead_are_recognised() {
    let block = |label: &str, data: &str| {
        format!("-----BEGIN {label}-----\n\n{data}\n-----END {label}-----\n")
    };
    let key = "mDMEZ0aAABYJKwYBBAHaRw8BAQdAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nAAAAAAA=\n=abcd";
    recognised(&block("PGP PUBLIC KEY BLOCK", key), Evidence::Key);
    recognised(&block("PGP PRIVATE KEY BLOCK", key), Evidence::Key);
    recognised(&block("PGP MESSAGE", key), Evidence::Key);
    recognised(
        &block("CERTIFICATE", "MIIBszCCAVmgAwIBAgIUQ1dX"),
        Evidence::Pem,
    );
    let signed = format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nhello\n{}",
        block("PGP SIGNATURE", "iHUEARYKAB0WIQ")
    );
    recognised(&signed, Evidence::Signature);
    let bytes: Vec<u8> = (0..400_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    recognised(&String::from_utf8_lossy(&bytes), Evidence::Binary);
    let latin_1: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    recognised(&latin_1, Evidence::Binary);
}

#[test]
fn cut_off_message_is_damaged_wherever_it_ends() {
    let armor = SAMPLE.replace("Version: GnuPG v2\n", "");
    let end = armor.find("==").expect("the sample should have padding");
    for len in BEGIN.len()..end {
        damaged(&armor[..len], "it ends too early");
        if !armor[BEGIN.len()..len].trim().is_empty() {
            damaged(&format!("{}\n{END}\n", &armor[..len]), "it ends too early");
        }
    }
    let enough = DATA.len() - 2;
    for len in 44..enough - 1 {
        damaged(&DATA[..len], "it ends too early");
    }
}

#[test]
fn stray_character_is_damage_with_its_place() {
    for stray in ["*", "!", "é", "\u{fffd}", "…", ".", "\"", "\u{1}"] {
        let text = SAMPLE.replace("R3uk3v", &format!("R3u{stray}3v"));
        damaged(&text, "a character does not belong there");
        damaged(&text, "line 4 of the text");
    }
    damaged(
        &SAMPLE.replace("jA0E", "j*0E"),
        "a character does not belong",
    );
    damaged(
        &SAMPLE.replace("jA0E", "*A0E"),
        "a character does not belong",
    );
    // This data uses the other alphabet in the same line.
    damaged(
        &SAMPLE.replace("rJnp4/y", "rJnp4_y"),
        "a character does not belong",
    );
}

#[test]
fn missing_and_additional_lines_are_damage() {
    let data: Vec<u8> = [
        &message()[..15],
        &[0xd2, 0xed],
        &[1; 1 << 13],
        &[0xc1, 0x08],
        &(0..456_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect::<Vec<_>>(),
    ]
    .concat();
    let lines = super::shapes::armored(&data);
    opens_as(&lines.concat(), &data);
    for at in 0..lines.len() {
        let missing: Vec<_> = lines
            .iter()
            .enumerate()
            .filter(|&(line, _)| line != at + 2)
            .map(|(_, line)| line.clone())
            .collect();
        if at + 4 < lines.len() {
            assert!(is_damaged(&missing.concat()), "line {at}");
        }
    }
}

fn is_damaged(text: &str) -> bool {
    matches!(
        find(text.as_bytes(), LIMIT).found.as_slice(),
        [Found::Damaged(_)]
    )
}

#[track_caller]
fn opens_as(text: &str, bytes: &[u8]) {
    let expected = Found::Message {
        bytes: bytes.to_vec(),
        trailing: false,
    };
    assert_eq!(find(text.as_bytes(), LIMIT).found, [expected], "{text:?}");
}

#[test]
fn data_that_is_no_message_in_a_block_for_one_is_damaged() {
    let without_first_line = SAMPLE.replace(
        "jA0ECQMCVady3RUyJw3X0kcBF+zdkfZOMhISoYBRwR3uk3vNv+TEg+rJnp4/yYIS\n",
        "",
    );
    damaged(&without_first_line, "it ends too early");
    let unknown = DATA.replace("0kcBF", "zkcBF");
    damaged(
        &format!("{BEGIN}\n\n{unknown}\n{END}\n"),
        "the data is not that of a message",
    );
    // Without BEGIN, a few bytes may look like a message by coincidence.
    recognised(&unknown, Evidence::Nothing);
}

#[test]
fn header_limit_is_enforced() {
    let header = "Comment: 0123456789\n".repeat(50);
    let text = format!("{BEGIN}\n{header}\n{DATA}\n{END}\n");
    opens(&text);
    assert_eq!(
        find(text.as_bytes(), 500).found,
        [Found::HeadersTooLong(999)]
    );
    let prose = "All of this is prose. ".repeat(50);
    let mention = format!("Copy from {BEGIN} on.\n\n{prose}\n\n{SAMPLE}");
    assert_eq!(
        find(mention.as_bytes(), 500).found,
        find(SAMPLE.as_bytes(), 500).found
    );
}

#[test]
fn text_full_of_plausible_positions_is_rejected_quickly() {
    // Each word passes the first check and fails at the end of a long text.
    for word in [
        "jA0ECQMCVady3RUyJw3XAAAA ",
        "jA0ECQMC ",
        "jA0ECQMC",
        "jA0ECQMCVady3RUyJw3X0kcBF.",
        "hQEMAAAAAAAAAAAAAQgA ",
        "-----BEGIN PGP MESSAGE-----\n",
        "-----BEGIN PGP MESSAGE-----\njA0ECQMC",
        "&amp;#43;%25\\\\\\<br",
        "LS0tLS1CRUdJTiBQR1AgTUVTU0FHRS0tLS0t\u{1}",
        "8c0d0409030255a772dd1532270dd7 ",
    ] {
        let text = word.repeat(100_000);
        find(text.as_bytes(), LIMIT);
    }
}

/// A damaged beginning in front of a message does not hide it.
#[test]
fn message_opens_behind_the_beginning_of_another_one() {
    let whole = Found::Message {
        bytes: message(),
        trailing: false,
    };
    let armor = |header: &str| format!("{BEGIN}\nVersion: GnuPG v2\n{header}\n\n{DATA}\n{END}\n");
    let cut = DATA.split('\n').next().expect("data should have lines");
    let bytes = message();
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    let hex = digits.collect::<Vec<_>>().concat();
    for text in [
        armor("Comment: jA0ECQMC"),
        armor("Comment: see jA0EBwMC"),
        armor(&["Comment: ", &DATA[..40]].concat()),
        format!("{cut}\n\n{DATA}\n"),
        format!("{}\n\n{hex}\n", &hex[..100]),
    ] {
        let found = find(text.as_bytes(), LIMIT).found;
        assert!(found.contains(&whole), "{found:?}: {text}");
    }
}
