//! Opening the file: its lock and its version.

use super::access::check_access;
use super::clock::Clock;
use super::database::Database;
use super::files::Identity;
use super::recovery::recover;
use crate::{Now, Quota, Result, Unavailable, Unusable};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::fs::TryLockError;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Marks the file as a store of this program ("bulk" in ASCII).
pub(super) const APPLICATION_ID: i32 = 0x6275_6c6b;

/// Each migration upgrades the schema by one version.
pub(super) const MIGRATIONS: &[&str] =
    &[include_str!("version-1.sql"), include_str!("version-2.sql")];

/// Maximum wait for another process that locks the file, such as a backup. Longer waits are errors.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

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
    pub(super) fn log(&self) -> PathBuf {
        beside(&self.path, "-wal")
    }
}

/// Returns the path of a file whose name has this suffix in addition.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Database {
    /// See [`super::Sqlite::open`].
    pub(super) fn open(path: &Path, boot_id: &str, quota: Quota, now: Now) -> Result<Self> {
        let (connection, locked) = Self::migrated(path)?;
        let mut database = Self::new(connection, quota, Some(locked))?;
        database.clock =
            database.transaction(|transaction| recover(transaction, boot_id, quota, now))?;
        let path = std::path::absolute(path).map_err(|error| Unavailable::File(error.into()))?;
        database.watch_files(path);
        database.check_files()?;
        Ok(database)
    }

    /// See [`super::Sqlite::migrate`].
    pub(super) fn migrated(path: &Path) -> Result<(Connection, Locked)> {
        let locked = lock(path)?;
        let connection = connect(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        )?;
        // Checked before anything is written, because the file may belong to another program.
        let version = version(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
        migrate(&transaction, version)?;
        transaction.commit()?;
        Ok((connection, locked))
    }

    /// See [`super::Sqlite::inspect`].
    pub(super) fn inspect(path: &Path, boot_id: &str, quota: Quota, now: Now) -> Result<Self> {
        check_access(path)?;
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

    /// Opens a second, read-only connection to the same file.
    pub(super) fn reader(&self, path: &Path) -> Result<Self> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut reader = Self::new(connection, self.quota, None)?;
        reader.clock = self.clock;
        Ok(reader)
    }
}

/// Opens a connection.
///
/// SQLite gives the names `file:…` and `:memory:` a meaning of their own. It is compiled so that no flag turns
/// this off. An absolute path has neither form.
fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let path = std::path::absolute(path).map_err(|error| Unavailable::File(error.into()))?;
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
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
fn lock(path: &Path) -> Result<Locked> {
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

/// Returns the version of the file, 0 for an empty one. Rejects files of other programs and newer versions.
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
