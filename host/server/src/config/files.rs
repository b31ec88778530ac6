//! Bounded reading of files that a setting names.

use bulkhead_http::Wiped;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use thiserror::Error;

/// Number of bytes reserved for a file whose size the file system does not report.
const UNKNOWN_SIZE: u64 = 64 << 10;

/// A file was not read. The text continues a sentence whose subject is the file.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("is not a regular file. Name a regular file, because pipes and devices may never end")]
    NotRegular,
    #[error("has more than {0} bytes. Check whether it is the right file")]
    TooLarge(u64),
    #[error("grows while it is read. Try again")]
    Growing,
    #[error("is not UTF-8 text. Save it as UTF-8, or check whether it is the right file")]
    NotText,
    #[error(
        "cannot be read: {source}. It belongs to user {owner} and group {group}, with mode {mode:04o}, and this \
         process runs as user {user} and group {user_group}. Change its owner or its mode"
    )]
    Denied {
        owner: u32,
        group: u32,
        mode: u32,
        user: u32,
        user_group: u32,
        source: std::io::Error,
    },
    #[error("cannot be read: {0}. Check the path")]
    Io(#[from] std::io::Error),
}

impl FileError {
    /// Returns the error of opening a file.
    fn of_opening(path: &Path, source: std::io::Error) -> Self {
        match path.metadata() {
            Ok(metadata) if source.kind() == std::io::ErrorKind::PermissionDenied => Self::Denied {
                owner: metadata.uid(),
                group: metadata.gid(),
                mode: metadata.mode() & 0o7777,
                user: rustix::process::geteuid().as_raw(),
                user_group: rustix::process::getegid().as_raw(),
                source,
            },
            Ok(_) | Err(_) => Self::Io(source),
        }
    }
}

/// Returns the content of a regular file of at most `max` bytes. Does not wait for a pipe or a device. The
/// memory does not move, and is wiped when it is dropped.
///
/// # Errors
/// [`FileError`] if the file is not a regular file, is too large, grows meanwhile or cannot be read.
pub(crate) fn read(path: &Path, max: u64) -> Result<Wiped, FileError> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| FileError::of_opening(path, error))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular);
    }
    if metadata.len() > max {
        return Err(FileError::TooLarge(max));
    }
    // The additional byte shows whether the file is too large or grows.
    let limit = metadata.len().max(UNKNOWN_SIZE).min(max) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(limit + 1).unwrap_or(usize::MAX));
    let read = file.take(limit).read_to_end(&mut bytes);
    let bytes = Wiped::from(bytes);
    read?;
    match bytes.len() as u64 {
        length if length > max => Err(FileError::TooLarge(max)),
        length if length == limit => Err(FileError::Growing),
        _ => Ok(bytes),
    }
}

/// Returns the content of a text file of at most `max` bytes.
///
/// # Errors
/// As [`read`], and if the content is not UTF-8.
pub(crate) fn read_text(path: &Path, max: u64) -> Result<String, FileError> {
    let bytes = read(path, max)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| FileError::NotText)?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listed::assert_listed;

    #[test]
    fn denied_file_names_owner_mode_and_remedy() {
        let folder = tempfile::tempdir().expect("folder should be created");
        let path = folder.path().join("f");
        std::fs::write(&path, b"").expect("file should be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o400);
        std::fs::set_permissions(&path, mode).expect("mode should be set");
        // Root may read every file, so that the system's error is given.
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = FileError::of_opening(&path, denied);
        let user = format!("user {}", rustix::process::geteuid().as_raw());
        let group = format!("group {}", rustix::process::getegid().as_raw());
        assert_listed(
            "file of a setting that belongs to another user",
            &error,
            &[(&user, "user USER"), (&group, "group GROUP")],
        );
    }

    #[test]
    fn file_that_is_too_large_or_not_regular_is_rejected() {
        let folder = tempfile::tempdir().expect("folder should be created");
        let path = folder.path().join("f");
        let why = |path: &Path, max| match read(path, max) {
            Ok(_) => panic!("{} was read", path.display()),
            Err(error) => error.to_string(),
        };
        assert!(why(&path, 3).starts_with("cannot be read"));
        std::fs::write(&path, b"abc").expect("file should be written");
        assert_eq!(read(&path, 3).expect("file should be read")[..], b"abc"[..]);
        assert!(why(&path, 2).starts_with("has more than 2 bytes"));
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR)
            .expect("pipe should be created");
        for file in [&pipe, folder.path(), Path::new("/dev/zero")] {
            assert!(why(file, 2).starts_with("is not a regular file"));
        }
        // Kubernetes mounts files as symbolic links.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("link should be created");
        let content = read(&link, 1 << 20).expect("link should be followed");
        assert_eq!(content[..], b"abc"[..]);
    }

    #[test]
    fn file_without_a_size_is_read() {
        assert!(
            !read(Path::new("/proc/self/status"), 1 << 20)
                .expect("file should be read")
                .is_empty()
        );
    }
}
