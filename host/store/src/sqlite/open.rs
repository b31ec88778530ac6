//! Opening the file: its lock, its version, and what an earlier process left.

use super::clock::Clock;
use super::database::Database;
use super::recovery::recover;
use crate::{Now, Quota, Result, Unavailable, Unusable};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::fs::TryLockError;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Marks the file as ours ("bulk" in ASCII).
const APPLICATION_ID: i32 = 0x6275_6c6b;

/// Each makes the next version of the schema from the one before.
const MIGRATIONS: &[&str] = &[include_str!("version-1.sql"), include_str!("version-2.sql")];

/// Somebody else may use the file, to back it up or to look at it. Longer waits for them are told.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

impl Database {
    /// See [`super::Sqlite::open`].
    pub(super) fn open(path: &Path, boot_id: &str, quota: Quota, now: Now) -> Result<Self> {
        let (connection, lock) = Self::migrated(path)?;
        let mut database = Self::new(connection, quota, Some(lock))?;
        database.clock =
            database.transaction(|transaction| recover(transaction, boot_id, quota, now))?;
        Ok(database)
    }

    /// See [`super::Sqlite::migrate`].
    pub(super) fn migrated(path: &Path) -> Result<(Connection, std::fs::File)> {
        let lock = lock(path)?;
        let connection = connect(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        )?;
        // Asked before anything is written: the file may be somebody else's.
        let version = version(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
        migrate(&transaction, version)?;
        transaction.commit()?;
        Ok((connection, lock))
    }

    /// See [`super::Sqlite::inspect`].
    pub(super) fn inspect(path: &Path, boot_id: &str, quota: Quota, now: Now) -> Result<Self> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let version = version(&connection)?;
        if version < MIGRATIONS.len() {
            return Err(Unusable::Older.into());
        }
        let mut database = Self::new(connection, quota, None)?;
        database.clock =
            database.look(|database| Clock::read(&database.connection, boot_id, now))?;
        Ok(database)
    }

    /// Another connection to the same file, which reads only.
    pub(super) fn reader(&self, path: &Path) -> Result<Self> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut reader = Self::new(connection, self.quota, None)?;
        reader.clock = self.clock;
        Ok(reader)
    }
}

/// A path is a path, even where it begins with `file:`.
fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// How a file is opened that holds what is nobody else's business.
fn private() -> std::fs::OpenOptions {
    let mut options = std::fs::File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    options
}

/// Only one process may plan calls by a file. The database's own locks are let go between
/// transactions, and a lock of ours on it would get in their way.
fn lock(path: &Path) -> Result<std::fs::File> {
    let file_error = |error: std::io::Error| Unavailable::File(error.into());
    let lock_error = |error: std::io::Error| Unavailable::LockFile(error.into());
    // To open a pipe would wait for whoever reads it.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(Unusable::NotAFile.into());
    }
    // Made here, so that it has a name to be locked by, and so that nobody else may read it.
    let file = private().open(path).map_err(file_error)?;
    if file.metadata().map_err(file_error)?.nlink() > 1 {
        return Err(Unavailable::HardLink.into());
    }
    // The same file by another name has the same lock.
    let mut name = path.canonicalize().map_err(file_error)?.into_os_string();
    name.push(".lock");
    let lock = private().open(PathBuf::from(name)).map_err(lock_error)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Unavailable::InUse.into()),
        Err(TryLockError::Error(error)) => Err(lock_error(error).into()),
    }
}

/// Which version the file has, 0 for an empty one. Files that are not ours are refused, and those of a
/// newer version.
fn version(connection: &Connection) -> Result<usize> {
    let version = pragma(connection, "user_version")?;
    let owner = pragma(connection, "application_id")?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    match (owner, usize::try_from(version)) {
        (0, Ok(0)) if tables == 0 => Ok(0),
        (APPLICATION_ID, Ok(found)) if (1..=MIGRATIONS.len()).contains(&found) => Ok(found),
        (APPLICATION_ID, _) => Err(Unusable::Newer {
            found: version,
            known: MIGRATIONS.len(),
        }
        .into()),
        _ => Err(Unusable::OtherProgram.into()),
    }
}

fn migrate(transaction: &Connection, version: usize) -> Result<()> {
    for (step, to) in MIGRATIONS.iter().zip(1_i32..).skip(version) {
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", to)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    Ok(())
}

fn pragma(connection: &Connection, name: &str) -> Result<i32> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}
