//! The operator's folder, and the files in it.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// What tells a file from another one of the same name, and from itself before it was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    octets: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            octets: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What there is under a name. Links are followed: Kubernetes mounts files as links to links.
pub(super) fn stamp(path: &Path) -> std::io::Result<Option<Stamp>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Why a file was not read. The text continues a sentence that began with what it is.
#[derive(Debug)]
pub(super) enum Unread {
    NoFile,
    TooLarge(u64),
    Failed(std::io::Error),
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoFile => f.write_str("is not a file"),
            Self::TooLarge(octets_max) => write!(f, "has more than {octets_max} octets"),
            Self::Failed(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// The octets of a component. The error is a sentence for the operator.
pub(super) fn component(path: &Path, octets_max: u64) -> Result<Vec<u8>, String> {
    read(path, octets_max).map_err(|why| match why {
        Unread::TooLarge(_) => {
            format!("it {why}; --component-max (BULKHEAD_COMPONENT_MAX) allows more")
        }
        why => format!("it {why}"),
    })
}

/// The octets of a file of at most so many. Neither a pipe nor a device is waited for.
pub(super) fn read(path: &Path, octets_max: u64) -> Result<Vec<u8>, Unread> {
    let unreadable = Unread::Failed;
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Unread::NoFile);
    }
    let too_large = || Err(Unread::TooLarge(octets_max));
    if metadata.len() > octets_max {
        return too_large();
    }
    // It may grow all the same.
    let mut octets = Vec::new();
    file.take(octets_max.saturating_add(1))
        .read_to_end(&mut octets)
        .map_err(unreadable)?;
    if octets.len() as u64 > octets_max {
        return too_large();
    }
    Ok(octets)
}

/// What a look at the folder found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FolderState {
    /// Why it cannot be read, or the list of pins cannot.
    pub(crate) failing: Option<String>,
    /// Files that look like components and have no component's name.
    pub(crate) unknown: Vec<String>,
}

impl FolderState {
    /// Of a folder in which files of these names count.
    pub(super) fn of(folder: &Path, names: &[&str]) -> Self {
        /// More are not listed.
        const UNKNOWN_MAX: usize = 10;
        let failing = |error: std::io::Error| Self {
            failing: Some(error.to_string()),
            unknown: Vec::new(),
        };
        let mut unknown = Vec::new();
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return failing(error),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return failing(error),
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_known = name
                .strip_suffix(".wasm")
                .is_none_or(|stem| stem.starts_with('.') || names.contains(&stem));
            if !is_known {
                unknown.push(name);
            }
        }
        unknown.sort();
        unknown.truncate(UNKNOWN_MAX);
        Self {
            failing: None,
            unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_of_bounded_size_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        let why = |path, octets_max| read(path, octets_max).expect_err("unread").to_string();
        assert!(why(&path, 3).starts_with("cannot be read"));
        std::fs::write(&path, b"abc").expect("written");
        assert_eq!(read(&path, 3).ok(), Some(b"abc".to_vec()));
        assert_eq!(why(&path, 2), "has more than 2 octets");
        assert_eq!(why(folder.path(), 2), "is not a file");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
        assert_eq!(why(&pipe, 2), "is not a file");
    }

    #[test]
    fn a_file_that_was_replaced_or_written_has_another_stamp() {
        let folder = tempfile::tempdir().expect("a folder");
        let [path, next] = ["a", "b"].map(|name| folder.path().join(name));
        assert_eq!(stamp(&path).expect("looked"), None);
        std::fs::write(&path, b"abc").expect("written");
        let first = stamp(&path).expect("looked");
        assert_eq!(first, stamp(&path).expect("looked"));
        std::fs::write(&next, b"abc").expect("written");
        std::fs::rename(&next, &path).expect("renamed");
        assert_ne!(first, stamp(&path).expect("looked"));
    }

    #[test]
    fn files_of_no_component_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "token.wasm",
            "tokn.wasm",
            ".token.wasm.wasm",
            "read.me",
            "B.wasm",
        ] {
            std::fs::write(folder.path().join(name), b"").expect("written");
        }
        let state = FolderState::of(folder.path(), &["token"]);
        assert_eq!(state.unknown, ["B.wasm", "tokn.wasm"]);
        assert_eq!(state.failing, None);
        let nowhere = FolderState::of(&folder.path().join("none"), &["token"]);
        assert!(nowhere.failing.is_some());
    }
}
