//! The file of the audit log.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The path that stands for standard output.
const STANDARD_OUTPUT: &str = "-";

/// The audit log cannot be opened. The text continues a sentence whose subject is the file.
#[derive(Debug, Error)]
pub(super) enum OpenError {
    #[error("cannot be opened for appending: {0}. Check the path, its owner and its mode")]
    Open(#[from] std::io::Error),
    #[error("is not a regular file. Name a regular file, or - for standard output")]
    NotRegular,
}

/// The open file.
pub(super) struct Output {
    /// `None` for standard output.
    path: Option<PathBuf>,
    file: File,
    /// Whether the last line was not written to its end.
    is_torn: bool,
}

impl Output {
    /// Opens the file for appending. A new file is readable by its owner only.
    ///
    /// # Errors
    /// [`OpenError`] if that fails, or if it is not a regular file.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        if path == Path::new(STANDARD_OUTPUT) {
            // A blocked write to `Stdout` would hold its lock, for which other threads would wait.
            let file = std::io::stdout().as_fd().try_clone_to_owned()?.into();
            return Ok(Self {
                path: None,
                file,
                is_torn: false,
            });
        }
        // Without this flag, opening a pipe waits until the pipe has a reader.
        let file = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(OpenError::NotRegular);
        }
        Ok(Self {
            path: Some(path.to_owned()),
            file,
            is_torn: false,
        })
    }

    /// Opens the file again, because the old one may have been renamed. Standard output stays as it is.
    ///
    /// # Errors
    /// [`OpenError`] if that fails. The old file stays open.
    pub(super) fn reopen(&mut self) -> Result<(), OpenError> {
        if let Some(path) = &self.path {
            *self = Self::open(path)?;
        }
        Ok(())
    }

    /// Writes complete lines. After a line that was written in part, the next one begins on a new line.
    ///
    /// # Errors
    /// The number of lines that were not written completely, and the error of the system.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), (usize, std::io::Error)> {
        let count = |rest: &[u8]| rest.split_inclusive(|byte| *byte == b'\n').count();
        if self.is_torn {
            let written = self.file.write_all(b"\n");
            written.map_err(|error| (count(lines), error))?;
            self.is_torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err((count(rest), std::io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.is_torn = rest[written - 1] != b'\n';
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err((count(rest), error)),
            }
        }
        Ok(())
    }
}

/// Returns an error text if the file cannot be opened, without creating it.
pub(super) fn problem(path: &Path) -> Option<String> {
    let result = match path.metadata() {
        _ if path == Path::new(STANDARD_OUTPUT) => return None,
        Ok(metadata) if !metadata.is_file() => Err(OpenError::NotRegular),
        Ok(_) => File::options()
            .append(true)
            .open(path)
            .map(drop)
            .map_err(OpenError::from),
        Err(_) => {
            let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            folder.metadata().map(drop).map_err(OpenError::from)
        }
    };
    result.err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn new_file_is_private_and_an_existing_one_is_continued() {
        let folder = tempfile::tempdir().expect("folder should be created");
        let path = folder.path().join("audit.log");
        assert_eq!(problem(&path), None);
        for text in ["one\n", "two\n"] {
            let mut output = Output::open(&path).expect("file should be opened");
            output.write(text.as_bytes()).expect("file is writable");
        }
        let text = std::fs::read_to_string(&path).expect("file should be readable");
        assert_eq!(text, "one\ntwo\n");
        let mode = path.metadata().expect("file should exist").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert_eq!(problem(&path), None);
    }

    #[test]
    fn reopened_output_writes_to_the_new_file() {
        let folder = tempfile::tempdir().expect("folder should be created");
        let (path, old) = (folder.path().join("a"), folder.path().join("b"));
        let mut output = Output::open(&path).expect("file should be opened");
        output.write(b"one\n").expect("file should be writable");
        std::fs::rename(&path, &old).expect("file should be renamed");
        output.write(b"two\n").expect("file should be writable");
        output.reopen().expect("file should be opened");
        output.write(b"three\n").expect("file should be writable");
        let read = |path| std::fs::read_to_string(path).expect("file should be readable");
        assert_eq!(
            (read(&old), read(&path)),
            ("one\ntwo\n".into(), "three\n".into())
        );
        // If the new file cannot be opened, the old one stays in use.
        std::fs::remove_file(&path).expect("file should be removed");
        std::fs::create_dir(&path).expect("folder should be created");
        assert!(output.reopen().is_err() && problem(&path).is_some());
        output.write(b"four\n").expect("file should be writable");
    }

    #[test]
    fn pipe_and_missing_folder_are_rejected_without_waiting() {
        let folder = tempfile::tempdir().expect("folder should be created");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU)
            .expect("pipe should be created");
        for path in [pipe.as_path(), &folder.path().join("missing/audit.log")] {
            assert!(Output::open(path).is_err(), "{}", path.display());
            assert!(problem(path).is_some(), "{}", path.display());
        }
    }
}
