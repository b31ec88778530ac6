//! The components folder and its files.

use crate::config::components::ComponentSettings;
use crate::config::files::{self, FileError};
use bulkhead_http::{ByteSize, Wiped, setting};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The properties of a file that change if it is replaced or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Returns the stamp of a file, or `None` if there is no such file. Links are followed, because Kubernetes
/// mounts files as links to links.
pub(super) fn stamp(path: &Path) -> std::io::Result<Option<Stamp>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the content of a component's file. The error is a sentence for operators.
pub(crate) fn read_component(path: &Path, component_max: ByteSize) -> Result<Wiped, String> {
    files::read(path, component_max.bytes()).map_err(|error| match error {
        FileError::NotRegular => "it is not a regular file".to_owned(),
        FileError::TooLarge(max) => format!(
            "it has more than {max} bytes; raise {}",
            setting!(ComponentSettings, component_max)
        ),
        error => format!("it {error}"),
    })
}

/// The result of a scan of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FolderState {
    /// The error that prevents reading the folder or the list of pins.
    pub(crate) failing: Option<String>,
    /// Files with the extension of components, but without the name of a component.
    pub(crate) unknown: Vec<String>,
}

impl FolderState {
    /// Scans a folder. `names` are the names of components, without extension.
    pub(super) fn of(folder: &Path, names: &[&str]) -> Self {
        /// Maximum number of unknown files in the result.
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
    fn stamp_changes_if_a_file_is_replaced() {
        let folder = tempfile::tempdir().expect("folder should be created");
        let [path, next] = ["a", "b"].map(|name| folder.path().join(name));
        assert_eq!(stamp(&path).expect("stamp should be readable"), None);
        std::fs::write(&path, b"abc").expect("file should be written");
        let first = stamp(&path).expect("stamp should be readable");
        assert_eq!(first, stamp(&path).expect("stamp should be readable"));
        std::fs::write(&next, b"abc").expect("file should be written");
        std::fs::rename(&next, &path).expect("file should be renamed");
        assert_ne!(first, stamp(&path).expect("stamp should be readable"));
    }

    #[test]
    fn files_with_unknown_names_are_listed() {
        let folder = tempfile::tempdir().expect("folder should be created");
        for name in [
            "token.wasm",
            "tokn.wasm",
            ".token.wasm.wasm",
            "read.me",
            "B.wasm",
        ] {
            std::fs::write(folder.path().join(name), b"").expect("file should be written");
        }
        let state = FolderState::of(folder.path(), &["token"]);
        assert_eq!(state.unknown, ["B.wasm", "tokn.wasm"]);
        assert_eq!(state.failing, None);
        let missing = FolderState::of(&folder.path().join("none"), &["token"]);
        assert!(missing.failing.is_some());
    }
}
