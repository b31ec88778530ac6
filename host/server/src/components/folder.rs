//! The operator's folder, and the files in it.

use crate::config::components::ComponentSettings;
use crate::config::files::{self, FileError};
use bulkhead_http::{ByteSize, Wiped, setting};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
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

/// The content of a component's file. The error is a sentence for the operator.
pub(crate) fn read_component(path: &Path, component_max: ByteSize) -> Result<Wiped, String> {
    files::read(path, component_max.bytes()).map_err(|error| match error {
        FileError::NotRegular => "it is not a file".to_owned(),
        FileError::TooLarge(max) => format!(
            "it has more than {max} octets; {} allows more",
            setting!(ComponentSettings, component_max)
        ),
        error => format!("it {error}"),
    })
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
