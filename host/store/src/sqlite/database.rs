//! The file, opened: what a thread of its own works on.

use super::clock::Clock;
use super::recovery::recover;
use crate::{Now, Quota, Result, StoreError};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
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

/// More than there are different statements.
const STATEMENTS_MAX: usize = 100;

/// One connection to the file. What changes something is on disk when it returns, or when its group
/// does.
pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) quota: Quota,
    /// Every `now` that is given is the store's time by it already, but where the file is opened.
    pub(super) clock: Clock,
    /// Within [`Database::group`].
    grouped: bool,
    /// Dropped last: whoever gets it finds the file closed.
    _lock: Option<std::fs::File>,
}

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
            return Err(StoreError::Schema(
                "the file is of an older version of this program, or empty: the server brings it \
                 up to date when it starts"
                    .into(),
            ));
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

    fn new(connection: Connection, quota: Quota, lock: Option<std::fs::File>) -> Result<Self> {
        // A commit that returned survives a loss of power.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self {
            connection,
            quota,
            clock: Clock::default(),
            grouped: false,
            _lock: lock,
        })
    }

    /// All changes that `changes` makes become durable together, with one wait for the disk, or none
    /// does. One that fails on its own takes nothing else with it.
    pub(super) fn group(&mut self, changes: impl FnOnce(&mut Self)) -> Result<()> {
        self.grouped = true;
        changes(self);
        self.grouped = false;
        let committed = self.connection.execute_batch("COMMIT");
        if committed.is_err() && !self.connection.is_autocommit() {
            // What fails too leaves a transaction that the next `BEGIN` finds and reports.
            let _told_already = self.connection.execute_batch("ROLLBACK");
        }
        Ok(committed?)
    }

    /// To be called before a group.
    pub(super) fn begin_group(&mut self) -> Result<()> {
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Undoes what a group did that did not come to its end.
    pub(super) fn abandon_group(&mut self) {
        self.grouped = false;
        if !self.connection.is_autocommit() {
            let _told_by_the_next = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// One transaction, or a part of the group's; nothing is changed where it fails.
    pub(super) fn transaction<R>(
        &mut self,
        change: impl FnOnce(&Connection) -> Result<R>,
    ) -> Result<R> {
        if self.grouped {
            // A full disk can end the whole transaction: what came then would not be in the group.
            if self.connection.is_autocommit() {
                return Err(StoreError::Unavailable("the group was rolled back".into()));
            }
            let part = self.connection.savepoint()?;
            let result = change(&part)?;
            part.commit()?;
            return Ok(result);
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = change(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// What was committed before, all of it of one moment.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Self) -> Result<R>) -> Result<R> {
        let _ends_when_dropped = self.connection.unchecked_transaction()?;
        look(self)
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
    let unusable = |error: std::io::Error| StoreError::Unavailable(error.to_string());
    // To open a pipe would wait for whoever reads it.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(StoreError::Schema("it is not a regular file".into()));
    }
    // Made here, so that it has a name to be locked by, and so that nobody else may read it.
    let file = private().open(path).map_err(unusable)?;
    if file.metadata().map_err(unusable)?.nlink() > 1 {
        return Err(StoreError::Unavailable(
            "the file has another name as well (a hard link), by which it could be opened twice"
                .into(),
        ));
    }
    // The same file by another name has the same lock.
    let mut name = path.canonicalize().map_err(unusable)?.into_os_string();
    name.push(".lock");
    let name = PathBuf::from(name);
    let lock = private()
        .open(&name)
        .map_err(|error| StoreError::Unavailable(format!("its lock file: {error}")))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable(
            "another process has it open, and only one at a time may".into(),
        )),
        Err(TryLockError::Error(error)) => {
            Err(StoreError::Unavailable(format!("its lock file: {error}")))
        }
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
        (APPLICATION_ID, Ok(known)) if (1..=MIGRATIONS.len()).contains(&known) => Ok(known),
        (APPLICATION_ID, _) => Err(StoreError::Schema(format!(
            "its schema has version {version}, and this program knows {}. Use the program that \
             wrote it, or a newer one",
            MIGRATIONS.len()
        ))),
        _ => Err(StoreError::Schema(
            "the file is a database of another program".into(),
        )),
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

/// One that no lease had before.
pub(super) fn lease_token(transaction: &Connection) -> Result<i64> {
    let mut statement =
        transaction.prepare_cached("UPDATE meta SET leases = leases + 1 RETURNING leases")?;
    Ok(statement.query_row((), |row| row.get(0))?)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => {
                Self::Schema("the file is not an SQLite database".into())
            }
            // SQLite's own texts name tables and columns, never what is in them.
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
