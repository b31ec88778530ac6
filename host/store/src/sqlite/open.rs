//! Opening the file and its migration.

use super::access::check_access;
use super::clock::Clock;
use super::database::Database;
use super::locked::{Locked, lock};
use super::recovery::recover;
use super::schema::{APPLICATION_ID, MIGRATIONS};
use crate::{Now, Quota, Result, Unavailable, Unusable};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::path::Path;
use std::time::Duration;

/// Maximum wait for another process that locks the file, such as a backup. Longer waits are errors.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

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
