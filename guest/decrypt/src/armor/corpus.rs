//! Text without OpenPGP messages: none of it is mistaken for one.

use super::shapes::{Random, base64, hex, message, prose};
use super::{Found, find};

/// Number of texts. `BULKHEAD_TEST_SOAK` takes ten times as many.
const TEXTS: u64 = 20_000;

/// Licences, source code, configuration and documents of this repository.
const FILES: [&str; 11] = [
    include_str!("../../../../LICENSE-APACHE"),
    include_str!("../../../../LICENSE-MIT"),
    include_str!("../../../../Cargo.toml"),
    include_str!("../../../../Cargo.lock"),
    include_str!("../../../../deny.toml"),
    include_str!("../../../../README.md"),
    include_str!("../../../../CHANGELOG.md"),
    include_str!("../../../../run_tests.sh"),
    include_str!("../../../../guest/signing/src/verifier/public-key.pem"),
    include_str!("../session.rs"),
    include_str!("../survey.rs"),
];

/// Returns a text that contains no message.
fn text(random: &mut Random) -> String {
    let len = 1 << random.below(12);
    match random.below(9) {
        // A part of a file, which begins and ends anywhere.
        0..3 => {
            let file = FILES[random.below(FILES.len())];
            let start = random.below(file.len());
            let part: String = file.chars().skip(start).take(len).collect();
            part
        }
        3 => prose(random, len / 4),
        4 => words(random, len / 4),
        5 => base64(&random.bytes(len)),
        // Lines of base64, as a certificate or an image in a mail has them.
        6 => {
            let data = base64(&random.bytes(len));
            let lines: Vec<_> = data
                .as_bytes()
                .chunks(64)
                .map(String::from_utf8_lossy)
                .collect();
            format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                lines.join("\n")
            )
        }
        7 => hex(&random.bytes(len)),
        // A binary message that was read as text has lost bytes.
        _ => String::from_utf8_lossy(&message(random)).into_owned(),
    }
}

/// Returns words of random letters.
fn words(random: &mut Random, count: usize) -> String {
    const LETTERS: [&str; 10] = ["j", "h", "w", "A", "0", "E", "e", "Q", "M", "c"];
    let mut words = String::new();
    for _ in 0..count {
        for _ in 0..=random.below(12) {
            words += random.one_of(&LETTERS);
        }
        words += random.one_of(&[" ", " ", "\n", ". "]);
    }
    words
}

#[test]
fn text_without_a_message_has_no_false_start() {
    let soak = std::env::var_os("BULKHEAD_TEST_SOAK").is_some();
    let texts = if soak { 10 * TEXTS } else { TEXTS };
    let false_starts: Vec<(u64, Vec<Found>)> = (0..texts)
        .map(|seed| {
            (
                seed,
                find(text(&mut Random::new(seed)).as_bytes(), 65_536).found,
            )
        })
        .filter(|(_, found)| !found.is_empty())
        .collect();
    assert!(
        false_starts.is_empty(),
        "{} of {texts} texts: {false_starts:?}",
        false_starts.len()
    );
}

/// Every file as a whole, and with a message below it.
#[test]
fn files_have_no_message_until_one_follows() {
    let random = &mut Random::new(0);
    for file in FILES {
        assert_eq!(find(file.as_bytes(), 65_536).found, []);
        let bytes = message(random);
        let text = [file, "\n", &super::shapes::armored(&bytes).concat()].concat();
        let expected = Found::Message {
            bytes,
            trailing: false,
        };
        assert_eq!(find(text.as_bytes(), 65_536).found, [expected]);
    }
}
