//! The messages of the benchmark.

use bulkhead_tests::fixtures::{SAMPLE, text};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) const PASSPHRASE: &str = "topsecret";

/// An armored message, as text and as a file.
pub(crate) struct Message {
    pub(crate) title: &'static str,
    pub(crate) text: String,
    pub(crate) file: PathBuf,
    pub(crate) plaintext: Vec<u8>,
    /// The server's maximum time, relative to gpg's.
    pub(crate) target: Option<f64>,
}

/// Returns the six messages. gpg makes the large ones in `scratch` during the call.
pub(crate) fn all(scratch: &Path) -> Vec<Message> {
    // Written once, outside the time of each gpg.
    std::fs::write(scratch.join("passphrase"), PASSPHRASE)
        .expect("scratch folder should be writable");
    let small = |title, text: String, target| {
        let file = scratch.join(format!("{title}.asc"));
        std::fs::write(&file, &text).expect("scratch folder should be writable");
        let plaintext = b"Nice work!\n".to_vec();
        Message {
            title,
            text,
            file,
            plaintext,
            target: Some(target),
        }
    };
    let large = |title, bytes, compression, target| {
        let plaintext = log_lines(bytes);
        let file = scratch.join(format!("{title}.asc"));
        encrypt(scratch, &plaintext, compression, DEFAULT_COUNT, &file);
        let text = std::fs::read_to_string(&file).expect("gpg should have written the file");
        Message {
            title,
            text,
            file,
            plaintext,
            target,
        }
    };
    vec![
        small("(a) sample, 12 MB of SHA-1 twice", SAMPLE.into(), 0.3),
        small(
            "(b) default, 65 MB of SHA-1 twice",
            text("bench/default.asc"),
            0.25,
        ),
        small(
            "(c) the same with SHA-256 once",
            text("bench/sha256.asc"),
            0.55,
        ),
        large("(d) 1 MB uncompressed", 1_000_000, "none", None),
        large("(d) 10 MB uncompressed", 10_000_000, "none", Some(0.4)),
        large("(e) 1 MB compressed (ZIP)", 1_000_000, "zip", None),
    ]
}

/// Returns text that compresses like a log. It is always the same, and no two lines are equal.
fn log_lines(bytes: usize) -> Vec<u8> {
    let mut text = String::with_capacity(bytes + 128);
    let mut state = 1_u64;
    while text.len() < bytes {
        // Knuth's MMIX generator. Only a long period matters here.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (request, time_us) = (state >> 16, state >> 48);
        writeln!(
            text,
            "level=info request={request:012x} status=200 time_us={time_us} path=/orders"
        )
        .expect("writing to a string should succeed");
    }
    text.truncate(bytes);
    text.into_bytes()
}

/// The count that GnuPG uses today.
const DEFAULT_COUNT: &str = "65011712";

/// Returns a short message with a cheap key derivation, made by gpg during the call.
pub(crate) fn small(scratch: &Path) -> String {
    std::fs::write(scratch.join("passphrase"), PASSPHRASE)
        .expect("scratch folder should be writable");
    let file = scratch.join("small.asc");
    encrypt(scratch, b"Nice work!\n", "none", "65536", &file);
    std::fs::read_to_string(&file).expect("gpg should have written the file")
}

/// Runs `gpg --symmetric` with today's defaults (AES-256, S2K with SHA-1) except for the count.
fn encrypt(scratch: &Path, plaintext: &[u8], compression: &str, count: &str, to: &Path) {
    let from = scratch.join("plaintext");
    std::fs::write(&from, plaintext).expect("scratch folder should be writable");
    let status = gpg(scratch)
        .args([
            "--armor",
            "--cipher-algo",
            "AES256",
            "--s2k-digest-algo",
            "SHA1",
        ])
        .args([
            "--s2k-mode",
            "3",
            "--s2k-count",
            count,
            "--compress-algo",
            compression,
        ])
        .arg("--output")
        .arg(to)
        .arg("--symmetric")
        .arg(from)
        .status()
        .expect("gpg should run");
    assert!(status.success(), "gpg: {status}");
}

/// Returns gpg with its home in `scratch`, a passphrase file and no passphrase cache.
pub(crate) fn gpg(scratch: &Path) -> Command {
    let mut gpg = Command::new("gpg");
    gpg.arg("--homedir")
        .arg(scratch)
        .args(["--batch", "--quiet", "--no-options", "--no-symkey-cache"])
        .args(["--pinentry-mode", "loopback", "--passphrase-file"])
        .arg(scratch.join("passphrase"))
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    gpg
}
