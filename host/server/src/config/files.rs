//! Reading files that a setting names.

use bulkhead_http::Wiped;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use thiserror::Error;

/// Memory for a file whose size is not known in advance, because the file system does not say.
const UNKNOWN_SIZE: u64 = 64 << 10;

/// Why a file was not read. The text continues a sentence that begins with the file.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("is not a regular file. Name one: what comes out of a pipe or a device may never end")]
    NotRegular,
    #[error("has more than {0} octets: is it the right file?")]
    TooLarge(u64),
    #[error("is written to while it is read. Try again")]
    Growing,
    #[error("is not text")]
    NotText,
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// The content of a regular file of at most `max` bytes. Neither a pipe nor a device is waited for. The
/// memory is wiped when it is dropped, and does not move before.
pub(crate) fn read(path: &Path, max: u64) -> Result<Wiped, FileError> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular);
    }
    if metadata.len() > max {
        return Err(FileError::TooLarge(max));
    }
    // One byte more tells a file that is too large, or grows, from one that fits.
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

/// The same of a file that holds text.
pub(crate) fn read_text(path: &Path, max: u64) -> Result<String, FileError> {
    let bytes = read(path, max)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| FileError::NotText)?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        let why = |path: &Path, max| match read(path, max) {
            Ok(_) => panic!("{} was read", path.display()),
            Err(error) => error.to_string(),
        };
        assert!(why(&path, 3).starts_with("cannot be read"));
        std::fs::write(&path, b"abc").expect("written");
        assert_eq!(read(&path, 3).expect("read")[..], b"abc"[..]);
        assert!(why(&path, 2).starts_with("has more than 2 octets"));
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
        for file in [&pipe, folder.path(), Path::new("/dev/zero")] {
            assert!(why(file, 2).starts_with("is not a regular file"));
        }
        // Kubernetes mounts files as links.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        assert_eq!(read(&link, 1 << 20).expect("read")[..], b"abc"[..]);
    }

    #[test]
    fn a_file_without_a_size_is_read() {
        assert!(
            !read(Path::new("/proc/self/status"), 1 << 20)
                .expect("read")
                .is_empty()
        );
    }
}
