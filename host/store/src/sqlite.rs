//! The store in one file, for one process.

mod calls;
mod notifications;
mod requests;
mod writer;

pub use writer::Writer;

use crate::{Now, Quota, Result, StoreError};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::path::Path;
use std::time::Duration;

/// Marks the file as ours ("bulk" in ASCII).
const APPLICATION_ID: i32 = 0x6275_6c6b;
const SCHEMA_VERSION: i32 = 1;
const SCHEMA: &str = include_str!("sqlite/schema.sql");

/// Somebody else may read the file, to back it up or to look at it. Longer waits for them are told.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// The store in one file. Every function that changes something returns when that is on disk.
pub struct Sqlite {
    connection: Connection,
    quota: Quota,
    /// Within [`Sqlite::group`].
    grouped: bool,
}

impl Sqlite {
    /// Opens the file, makes it where there is none, and takes over what an earlier process left
    /// behind. `boot_id` names the current start of the machine, whose clock `now.boot` is.
    pub fn open(path: &Path, boot_id: &str, quota: Quota, now: Now) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Asked before anything is written: the file may be somebody else's.
        check_owner(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A commit that returned survives a loss of power.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let mut store = Self {
            connection,
            quota,
            grouped: false,
        };
        store.migrate()?;
        store.take_over(boot_id, now)?;
        Ok(store)
    }

    fn migrate(&mut self) -> Result<()> {
        if pragma(&self.connection, "user_version")? == SCHEMA_VERSION {
            return Ok(());
        }
        self.transaction(|transaction| {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            Ok(())
        })
    }

    /// All changes that `changes` makes become durable together, with one wait for the disk, or none
    /// does. One that fails on its own takes nothing else with it.
    fn group(&mut self, changes: impl FnOnce(&mut Self)) -> Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
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

    /// Undoes what a group did that did not come to its end.
    fn abandon_group(&mut self) {
        self.grouped = false;
        if !self.connection.is_autocommit() {
            let _told_by_the_next = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// One transaction, or a part of the group's; nothing is changed where it fails.
    fn transaction<R>(&mut self, change: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
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
}

/// Refuses files that are not ours, and those of a newer version.
fn check_owner(connection: &Connection) -> Result<()> {
    let version = pragma(connection, "user_version")?;
    let owner = pragma(connection, "application_id")?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    match (owner, version) {
        (0, 0) if tables == 0 => Ok(()),
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(()),
        (APPLICATION_ID, _) => Err(StoreError::Schema(format!(
            "its schema has version {version}, and this program knows {SCHEMA_VERSION}. Use the \
             program that wrote it, or a newer one"
        ))),
        _ => Err(StoreError::Schema(
            "the file is a database of another program".into(),
        )),
    }
}

fn pragma(connection: &Connection, name: &str) -> Result<i32> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}

/// One that no lease had before.
fn lease_token(transaction: &Connection) -> Result<i64> {
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

#[cfg(test)]
mod tests;
