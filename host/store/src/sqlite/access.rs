//! The rights of this process on the files of a store, checked without creating, changing or locking a file.

use super::schema::{APPLICATION_ID, MIGRATIONS};
use crate::{Denied, Result, Unavailable, Unusable};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{getegid, geteuid};
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The first bytes of an SQLite file (SQLite's "Database File Format", section 1.3).
const HEADER: &[u8] = b"SQLite format 3\0";

/// Positions of numbers in the header (as above).
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;

const READ_WRITE: Access = Access::READ_OK.union(Access::WRITE_OK);

/// Returns the path of a file whose name has this suffix in addition.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// See [`super::Sqlite::check`].
pub(super) fn check(path: &Path) -> Result<()> {
    let Some(path) = check_access(path)? else {
        return Ok(());
    };
    let mut header = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(100).read_to_end(&mut header))
        .map_err(|error| Unavailable::File(error.into()))?;
    if header.is_empty() {
        return Ok(());
    }
    if !header.starts_with(HEADER) {
        return Err(Unusable::NotSqlite.into());
    }
    // Until the first checkpoint the numbers of a new file are in its log, and 0 here.
    let number = |at: usize| {
        let bytes = header.get(at..at + 4)?.try_into().ok()?;
        Some(i32::from_be_bytes(bytes))
    };
    match (number(APPLICATION_ID_AT), number(USER_VERSION_AT)) {
        (Some(APPLICATION_ID), Some(found))
            if usize::try_from(found).map_or(true, |found| found > MIGRATIONS.len()) =>
        {
            let known = MIGRATIONS.len();
            Err(Unusable::Newer { found, known }.into())
        }
        (None | Some(0 | APPLICATION_ID), _) => Ok(()),
        (Some(_), _) => Err(Unusable::OtherProgram.into()),
    }
}

/// Checks the rights on the file, on the files beside it and on its folder. Returns the path without symbolic
/// links, or `None` if there is no file.
///
/// # Errors
/// [`Unavailable::Denied`] and [`Unavailable::File`] for a path that cannot be used, [`Unusable::NotAFile`].
pub(super) fn check_access(path: &Path) -> Result<Option<PathBuf>> {
    let failed = |error: io::Error| Unavailable::File(error.into());
    let path = std::path::absolute(path).map_err(failed)?;
    let found = match path.metadata() {
        // Opening a pipe would block until it has a reader.
        Ok(metadata) if !metadata.is_file() => return Err(Unusable::NotAFile.into()),
        Ok(metadata) if metadata.nlink() > 1 => return Err(Unavailable::HardLink.into()),
        Ok(_) => Some(path.canonicalize().map_err(failed)?),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let mut folders: Vec<_> = path.ancestors().skip(1).collect();
            folders.reverse();
            for folder in folders {
                check_rights("folder", folder, Access::EXEC_OK)?;
            }
            return Err(failed(error).into());
        }
        Err(error) => return Err(failed(error).into()),
    };
    let file = found.as_deref().unwrap_or(&path);
    let folder = file.parent().unwrap_or(Path::new("/"));
    check_rights("folder", folder, Access::WRITE_OK | Access::EXEC_OK)?;
    for (suffix, access) in [
        ("", READ_WRITE),
        (".lock", Access::WRITE_OK),
        ("-wal", READ_WRITE),
        ("-shm", READ_WRITE),
    ] {
        let file = beside(file, suffix);
        if file.exists() {
            check_rights("file", &file, access)?;
        }
    }
    Ok(found)
}

/// Checks that this process has these rights.
fn check_rights(kind: &'static str, path: &Path, access: Access) -> Result<()> {
    let Err(error) = accessat(CWD, path, access, AtFlags::EACCESS) else {
        return Ok(());
    };
    let metadata = path
        .metadata()
        .map_err(|error| Unavailable::Folder(error.into()))?;
    Err(Unavailable::Denied(Arc::new(Denied {
        kind,
        path: path.to_owned(),
        owner: metadata.uid(),
        group: metadata.gid(),
        mode: metadata.mode() & 0o7777,
        user: geteuid().as_raw(),
        user_group: getegid().as_raw(),
        source: error.into(),
    }))
    .into())
}
