//! Secrets: from the environment or a file; that of `/token` with the one before it while clients
//! change over.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// A secret below this many octets can be guessed sooner than the HMAC broken (RFC 2104 section 3
/// wants the length of the hash, 32 octets for SHA-256).
const STRONG_OCTETS: usize = 32;

/// Larger files are taken for the wrong ones.
const FILE_OCTETS_MAX: usize = 64 << 10;

/// Octets that are wiped when dropped and never shown.
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(set)")
    }
}

/// What tokens are made with, and checked against.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) current: Secret,
    pub(crate) previous: Option<Secret>,
}

impl Secrets {
    /// `SECRET` and `SECRET_PREVIOUS`, or the files in their place; `None` where there is neither.
    /// The error names the variable and never what is in it.
    pub(crate) fn load(
        file: Option<&Path>,
        previous_file: Option<&Path>,
    ) -> Result<Option<Self>, String> {
        let current = named("SECRET", file)?;
        // That the file is gone, or empty, is how a rotation ends.
        let previous_file = previous_file.filter(|file| !is_gone_or_empty(file));
        let previous = named("SECRET_PREVIOUS", previous_file)?;
        match (current, previous) {
            (Some(current), previous) => Ok(Some(Self { current, previous })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err("SECRET_PREVIOUS is set and SECRET is not. Set SECRET \
                 (SECRET_FILE) to what new tokens are to be made with"
                .into()),
        }
    }

    /// Which of them are too short to be strong.
    pub(crate) fn weak(&self) -> impl Iterator<Item = &'static str> {
        let is_weak = |secret: &Secret| secret.expose().len() < STRONG_OCTETS;
        let current = is_weak(&self.current).then_some("SECRET");
        let previous = self.previous.as_ref().is_some_and(is_weak);
        current
            .into_iter()
            .chain(previous.then_some("SECRET_PREVIOUS"))
    }
}

/// A secret by the name of its variable, or the file in its place; none where there is neither. The
/// error names the variable and never what is in it.
pub(crate) fn named(name: &str, file: Option<&Path>) -> Result<Option<Secret>, String> {
    secret(name, std::env::var_os(name), file)
}

fn secret(
    name: &str,
    variable: Option<OsString>,
    file: Option<&Path>,
) -> Result<Option<Secret>, String> {
    let octets = match (variable, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(format!(
                "{name} and {name}_FILE are both set. Keep one of them"
            ));
        }
        (Some(variable), None) => Zeroizing::new(variable.into_vec()),
        (None, Some(file)) => {
            let mut octets = read(file, FILE_OCTETS_MAX)
                .map_err(|why| format!("{name}_FILE, {}, {why}", file.display()))?;
            // Editors and `echo` end a file with a line end that nobody means.
            for end in [b'\n', b'\r'] {
                if octets.last() == Some(&end) {
                    octets.pop();
                }
            }
            octets
        }
    };
    if octets.is_empty() {
        let name = file.map_or_else(
            || name.to_owned(),
            |file| format!("{name}_FILE, {},", file.display()),
        );
        return Err(format!(
            "{name} is empty. Set it, to at least {STRONG_OCTETS} random octets where it is yours to choose, or unset it"
        ));
    }
    Ok(Some(Secret(octets)))
}

/// Whether there is no such file, or nothing in it. What cannot be found out is neither.
fn is_gone_or_empty(file: &Path) -> bool {
    match std::fs::metadata(file) {
        Ok(metadata) => metadata.is_file() && metadata.len() == 0,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// The octets of a file of at most so many that a setting names. What might never end is not waited
/// for. The error continues a sentence that began with the file.
pub(crate) fn read(file: &Path, octets_max: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    let unreadable = |error| format!("cannot be read: {error}");
    let opened = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(file)
        .map_err(unreadable)?;
    if !opened.metadata().map_err(unreadable)?.is_file() {
        return Err(
            "is not a regular file. Name one: what comes out of a pipe or a device may never end"
                .into(),
        );
    }
    // Never grown, which would leave the old place as it is.
    let mut octets = Zeroizing::new(Vec::with_capacity(octets_max + 2));
    opened
        .take(octets_max as u64 + 1)
        .read_to_end(&mut octets)
        .map_err(unreadable)?;
    if octets.len() > octets_max {
        return Err(format!(
            "has more than {octets_max} octets: is it the right file?"
        ));
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("written");
        file
    }

    #[test]
    fn a_file_is_taken_without_its_last_line_end() {
        for (content, expected) in [
            (&b"secret"[..], &b"secret"[..]),
            (b"secret\n", b"secret"),
            (b"secret\r\n", b"secret"),
            (b"two\nlines\n\n", b"two\nlines\n"),
            (b"\xff\0\n", b"\xff\0"),
        ] {
            let file = file(content);
            let secret = secret("S", None, Some(file.path())).expect("readable");
            assert_eq!(secret.expect("there").expose(), expected);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let both = file(b"a");
        for (variable, path) in [
            (Some("a".into()), Some(both.path())),
            (Some("".into()), None),
            (None, Some(file(b"\n").path())),
            (None, Some(file(&vec![b'x'; FILE_OCTETS_MAX + 1]).path())),
            (None, Some(Path::new("/nonexistent"))),
        ] {
            let error = secret("SECRET", variable, path).expect_err("refused");
            assert!(error.contains("SECRET"), "{error}");
        }
        assert!(secret("SECRET", None, None).expect("fine").is_none());
    }

    #[test]
    fn what_may_never_end_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
        for file in [&pipe, folder.path(), Path::new("/dev/zero")] {
            let error = secret("SECRET", None, Some(file)).expect_err("refused");
            assert!(
                error.starts_with("SECRET_FILE, ") && error.contains("is not a regular file"),
                "{error}"
            );
        }
        // Kubernetes mounts files as links.
        let (file, link) = (file(b"secret"), folder.path().join("link"));
        std::os::unix::fs::symlink(file.path(), &link).expect("a link");
        assert!(secret("SECRET", None, Some(&link)).is_ok());
    }

    #[test]
    fn short_ones_are_weak_and_none_is_shown() {
        let secret = |octets| Secret(Zeroizing::new(vec![b'x'; octets]));
        let secrets = Secrets {
            current: secret(32),
            previous: Some(secret(31)),
        };
        assert_eq!(secrets.weak().collect::<Vec<_>>(), ["SECRET_PREVIOUS"]);
        assert!(!format!("{secrets:?}").contains('x'));
    }
}
