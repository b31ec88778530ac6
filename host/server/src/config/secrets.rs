//! Secrets, which are read from a variable or from a file instead.

use super::files::{self, FileError};
use bulkhead_http::Wiped;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A shorter secret is easier to guess than HMAC is to break. RFC 2104 section 3 recommends the length of the
/// hash, which is 32 bytes for SHA-256.
pub(crate) const STRONG_BYTES: usize = 32;

/// Maximum size of a secret file. A larger file is probably the wrong one.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The token secret. Unlike other variables it must not be empty, because anybody could make tokens then.
const NEVER_EMPTY: &str = "SECRET";

/// A secret, which is wiped when it is dropped and never shown.
pub(crate) struct Secret(Wiped);

impl Secret {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Wiped::from(bytes.into()))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns a sign that the secret contains bytes by accident, in a text whose subject is the secret.
    pub(crate) fn oddity(&self) -> Option<&'static str> {
        let secret = self.expose();
        // Each pair of bytes is a character and a zero byte, at the same place.
        let is_wide = |zero: usize| {
            let mut pairs = secret.chunks_exact(2);
            secret.len() >= 4 && pairs.all(|pair| pair[zero] == 0 && pair[1 - zero] != 0)
        };
        if secret.starts_with(b"\xff\xfe") || secret.starts_with(b"\xfe\xff") {
            Some("starts with a byte order mark of UTF-16. Save it as UTF-8")
        } else if secret.starts_with(b"\xef\xbb\xbf") {
            Some("starts with a byte order mark, which is part of the secret. Save it without")
        } else if is_wide(0) || is_wide(1) {
            Some("seems to be UTF-16, with a zero byte after each character. Save it as UTF-8")
        } else if secret.ends_with(b"\n") || secret.ends_with(b"\r") {
            Some("ends with a line break, which is part of the secret. Remove it")
        } else {
            None
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(set)")
    }
}

/// A secret cannot be used. The text names the variable and never shows its value.
#[derive(Debug, Error)]
pub(crate) enum SecretError {
    #[error("{0} and {0}_FILE are both set. Unset one of them")]
    SetTwice(&'static str),
    #[error("{name}_FILE, {}, {source}", file.display())]
    File {
        name: &'static str,
        file: PathBuf,
        source: FileError,
    },
    #[error(
        "{0} is empty. Set it or unset it. If you can choose its value, use at least {STRONG_BYTES} random bytes"
    )]
    Empty(String),
    #[error("{0}_PREVIOUS is set and {0} is not. Set {0} or {0}_FILE to the current secret")]
    OnlyPrevious(&'static str),
    #[error("{name} {problem}")]
    Malformed { name: &'static str, problem: String },
}

/// Returns the file of a previous secret, or `None` if it does not exist or is empty. A rotation ends when the
/// file is removed or emptied.
pub(crate) fn previous_file(file: Option<&Path>) -> Option<&Path> {
    file.filter(|file| match std::fs::metadata(file) {
        Ok(metadata) => !metadata.is_file() || metadata.len() > 0,
        // Reading it reports any other error.
        Err(error) => error.kind() != ErrorKind::NotFound,
    })
}

/// Returns a line of `check-config` on a secret.
pub(crate) fn set_or_not(name: &str, is_set: bool) -> String {
    format!("{name} ({})", if is_set { "set" } else { "not set" })
}

/// Returns warnings about secrets that are probably not what their operator meant, given their names and files.
/// Errors are not among them: [`named`] returns those.
pub(crate) fn warnings(secrets: &[(&'static str, Option<&Path>)]) -> Vec<String> {
    let warning = |(name, file): &(&'static str, Option<&Path>)| {
        let variable = std::env::var_os(name);
        if variable.is_some_and(|value| value.is_empty()) && file.is_none() {
            return Some(format!("{name} is empty, and counts as not set"));
        }
        let secret = named(name, *file).ok()??;
        Some(format!("{name} {}", secret.oddity()?))
    };
    secrets.iter().filter_map(warning).collect()
}

/// Returns the secret in this variable or in this file, or `None` if neither is set. An empty variable counts as
/// not set, except `SECRET` without a file. compose files set an unset variable to an empty one.
///
/// # Errors
/// [`SecretError`] if both are set, the file cannot be read, or the secret is empty.
pub(crate) fn named(
    name: &'static str,
    file: Option<&Path>,
) -> Result<Option<Secret>, SecretError> {
    secret(name, std::env::var_os(name), file)
}

fn secret(
    name: &'static str,
    variable: Option<OsString>,
    file: Option<&Path>,
) -> Result<Option<Secret>, SecretError> {
    let is_empty = variable.as_ref().is_some_and(|value| value.is_empty());
    let variable = variable.filter(|_| !is_empty || name == NEVER_EMPTY && file.is_none());
    let secret = match (variable, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(SecretError::SetTwice(name)),
        (Some(variable), None) => Secret::new(variable.into_vec()),
        (None, Some(file)) => {
            let bytes = files::read(file, FILE_BYTES_MAX).map_err(|source| SecretError::File {
                name,
                file: file.to_owned(),
                source,
            })?;
            // Editors and `echo` add a line end to the file. It is not part of the secret.
            let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            Secret::new(bytes.strip_suffix(b"\r").unwrap_or(bytes))
        }
    };
    if secret.expose().is_empty() {
        return Err(SecretError::Empty(file.map_or_else(
            || name.to_owned(),
            |file| format!("{name}_FILE, {},", file.display()),
        )));
    }
    Ok(Some(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("file should be created");
        std::fs::write(file.path(), content).expect("file should be written");
        file
    }

    #[test]
    fn last_line_end_of_a_file_is_not_part_of_the_secret() {
        for (content, expected) in [
            (&b"secret"[..], &b"secret"[..]),
            (b"secret\n", b"secret"),
            (b"secret\r\n", b"secret"),
            (b"two\nlines\n\n", b"two\nlines\n"),
            (b"\xff\0\n", b"\xff\0"),
        ] {
            let file = file(content);
            let secret = secret("S", None, Some(file.path())).expect("file should be readable");
            assert_eq!(secret.expect("secret should be set").expose(), expected);
        }
    }

    #[test]
    fn unusable_secret_error_names_the_variable() {
        let both = file(b"a");
        for (variable, path) in [
            (Some("a".into()), Some(both.path())),
            (Some("".into()), None),
            (None, Some(file(b"\n").path())),
            (None, Some(file(&vec![b'x'; (64 << 10) + 1]).path())),
            (None, Some(Path::new("/nonexistent"))),
            (None, Some(Path::new("/dev/zero"))),
        ] {
            let error =
                secret("SECRET", variable, path).expect_err("the secret should be rejected");
            assert!(error.to_string().contains("SECRET"), "{error}");
        }
        assert!(matches!(secret("SECRET", None, None), Ok(None)));
    }

    #[test]
    fn empty_variable_counts_as_not_set_except_the_token_secret() {
        let given = file(b"from a file");
        let empty = || Some(OsString::new());
        assert!(matches!(secret("OTHER", empty(), None), Ok(None)));
        for name in ["OTHER", "SECRET"] {
            let secret = secret(name, empty(), Some(given.path())).expect("file should be read");
            let secret = secret.expect("secret should be set");
            assert_eq!(secret.expose(), b"from a file");
        }
        assert!(secret("SECRET", empty(), None).is_err());
    }

    #[test]
    fn accidental_bytes_are_named() {
        for (content, expected) in [
            (&b"secret"[..], None),
            (b"0", None),
            (b"\0\0\0\0", None),
            (b"\x01\0\x02\x03", None),
            (b"secret\n", Some("line break")),
            (b"secret\r\n", Some("line break")),
            (b"\xef\xbb\xbfsecret", Some("byte order mark,")),
            (b"\xff\xfes\0e\0", Some("of UTF-16")),
            (b"\xfe\xff\0s\0e", Some("of UTF-16")),
            (b"s\0e\0c\0", Some("zero byte")),
            (b"\0s\0e\0c", Some("zero byte")),
        ] {
            let oddity = Secret::new(content).oddity();
            let is_expected = match (oddity, expected) {
                (None, None) => true,
                (Some(oddity), Some(expected)) => oddity.contains(expected),
                (Some(_), None) | (None, Some(_)) => false,
            };
            assert!(is_expected, "{content:?}: {oddity:?}");
        }
    }

    #[test]
    fn secret_is_not_shown_by_debug() {
        assert!(!format!("{:?}", Secret::new("xxx")).contains('x'));
    }
}
