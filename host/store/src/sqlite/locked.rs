//! The lock that excludes other servers, and the identity of the locked file.

use super::access::{beside, check_access};
use crate::{Result, Unavailable};
use std::fs::{Metadata, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The device and the inode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }

    /// Returns the identity of the file at this path, or `None` if there is no file or it cannot be looked up.
    pub(super) fn at(path: &Path) -> Option<Self> {
        path.metadata()
            .as_ref()
            .ok()
            .filter(|metadata| metadata.is_file())
            .map(Self::of)
    }
}

/// A file that this process has locked against other servers.
pub(super) struct Locked {
    /// The path without symbolic links.
    pub(super) path: PathBuf,
    /// The identity of the file that this process opened or created.
    pub(super) identity: Identity,
    /// Dropping it releases the lock.
    _lock: std::fs::File,
}

impl Locked {
    /// Returns the path of the write-ahead log.
    pub(super) fn write_ahead_log(&self) -> PathBuf {
        beside(&self.path, "-wal")
    }
}

/// Options that create a file which only its owner can read.
pub(super) fn private() -> std::fs::OpenOptions {
    let mut options = std::fs::File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    options
}

/// Locks the store for this process, and creates the file if it is missing.
///
/// Only one process may plan calls with a file. SQLite releases its own locks between transactions, and
/// another lock on the same file would interfere with them. Therefore the lock is on a file next to it.
pub(super) fn lock(path: &Path) -> Result<Locked> {
    let file_error = |error: std::io::Error| Unavailable::File(error.into());
    let lock_error = |error: std::io::Error| Unavailable::LockFile(error.into());
    check_access(path)?;
    // The file is created here, so that its path can be resolved and only its owner can read it.
    let file = private().open(path).map_err(file_error)?;
    let metadata = file.metadata().map_err(file_error)?;
    if metadata.nlink() > 1 {
        return Err(Unavailable::HardLink.into());
    }
    // The path is resolved, so that symbolic links lead to the same lock.
    let path = path.canonicalize().map_err(file_error)?;
    let lock = private().open(beside(&path, ".lock")).map_err(lock_error)?;
    match lock.try_lock() {
        Ok(()) => Ok(Locked {
            path,
            identity: Identity::of(&metadata),
            _lock: lock,
        }),
        Err(TryLockError::WouldBlock) => Err(Unavailable::InUse.into()),
        Err(TryLockError::Error(error)) => Err(lock_error(error).into()),
    }
}
