//! A connection to the file, used by one thread.

use super::clock::Clock;
use super::files::Files;
use super::locked::Locked;
use crate::{Quota, Result, StoreError, Unavailable, Unusable};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::path::PathBuf;
use std::time::Duration;

/// Maximum size of the write-ahead log after its content was written into the file, in bytes. It is about the
/// size at which SQLite does that. While a reader prevents it, the log can be larger.
pub(super) const LOG_BYTES_KEPT: i64 = 4 << 20;

/// Maximum time that closing waits for other processes that read the file.
const CLOSE_BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// Size of the statement cache. It is larger than the number of different statements.
const STATEMENTS_MAX: usize = 100;

/// A connection to the file. A change is on disk when its method returns, or when its group is committed.
pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) quota: Quota,
    /// Every `now` argument is already the store's time by this clock, except while the file is opened.
    pub(super) clock: Clock,
    /// Whether a [`Database::group`] is running.
    grouped: bool,
    /// The files whose identity is checked, if this process has locked them.
    files: Option<Files>,
    /// Dropped last, so that the file is closed before another process gets the lock.
    locked: Option<Locked>,
}

impl Database {
    pub(super) fn new(
        connection: Connection,
        quota: Quota,
        locked: Option<Locked>,
    ) -> Result<Self> {
        // A commit that has returned survives a loss of power.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection
            .pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self {
            connection,
            quota,
            clock: Clock::default(),
            grouped: false,
            files: None,
            locked,
        })
    }

    /// Checks from now on that the database stays at `path`. To be called after the first transaction, because
    /// the write-ahead log does not exist before it.
    pub(super) fn watch_files(&mut self, path: PathBuf) {
        self.files = self.locked.as_ref().map(|locked| Files::of(path, locked));
    }

    /// Checks that the paths lead to the open files.
    ///
    /// # Errors
    /// The errors of [`Files::check`].
    pub(super) fn check_files(&mut self) -> Result<()> {
        self.files.as_mut().map_or(Ok(()), Files::check)
    }

    /// Copies the data if [`Database::check_files`] found that a file is lost.
    pub(super) fn rescue(&mut self) {
        if let Some(files) = &mut self.files {
            files.rescue(&self.connection);
        }
    }

    /// Writes the content of the write-ahead log into the file, and closes the file. Afterwards the file is
    /// complete without its log. Only closes the connection if another process holds the lock.
    ///
    /// # Errors
    /// [`Unavailable::LogRemains`] if another process prevents it, and SQLite's errors. The data is complete
    /// then, but some of it is in the log. [`Unavailable::FileLost`] if a file is lost. Nothing is written and
    /// no file is removed then.
    pub(super) fn close(mut self) -> Result<()> {
        if let Err(error) = self.check_files() {
            self.rescue();
            // SQLite removes the log by its name, and the log of another database may have this name now.
            std::mem::forget(self.connection);
            return Err(error);
        }
        let Some(locked) = self.locked else {
            return Ok(());
        };
        self.connection.busy_timeout(CLOSE_BUSY_TIMEOUT)?;
        let is_busy: bool =
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
        self.connection.close().map_err(|(_, error)| error)?;
        let log_is_empty = match locked.write_ahead_log().metadata() {
            Ok(metadata) => metadata.len() == 0,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        if is_busy || !log_is_empty {
            return Err(Unavailable::LogRemains.into());
        }
        Ok(())
    }

    /// Runs `changes` and commits all its transactions together, with one wait for the disk.
    ///
    /// Either all of them are durable afterwards or none. A transaction that fails does not affect the
    /// others.
    ///
    /// # Errors
    /// The error of the commit. No change is stored then.
    pub(super) fn group(&mut self, changes: impl FnOnce(&mut Self)) -> Result<()> {
        self.grouped = true;
        changes(self);
        self.grouped = false;
        let committed = self.connection.execute_batch("COMMIT");
        if committed.is_err() && !self.connection.is_autocommit() {
            // If this fails too, the next `BEGIN` finds the open transaction and reports it.
            let _already_reported = self.connection.execute_batch("ROLLBACK");
        }
        Ok(committed?)
    }

    /// Starts the transaction of a group. To be called before [`Database::group`].
    pub(super) fn begin_group(&mut self) -> Result<()> {
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Rolls back a group that panicked.
    pub(super) fn abandon_group(&mut self) {
        self.grouped = false;
        if !self.connection.is_autocommit() {
            let _reported_by_next_group = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// Runs `change` in a transaction, or in a savepoint of the group. Nothing is changed if it fails.
    pub(super) fn transaction<R>(
        &mut self,
        change: impl FnOnce(&Connection) -> Result<R>,
    ) -> Result<R> {
        if self.grouped {
            // An error such as a full disk can end the whole transaction. A later change would not be in
            // the group.
            if self.connection.is_autocommit() {
                return Err(Unavailable::RolledBack.into());
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

    /// Runs `look` on one consistent snapshot of the committed data.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Self) -> Result<R>) -> Result<R> {
        let _ends_when_dropped = self.connection.unchecked_transaction()?;
        look(self)
    }
}

/// Returns a new token for a lease.
pub(super) fn lease_token(transaction: &Connection) -> Result<i64> {
    let mut statement =
        transaction.prepare_cached("UPDATE meta SET leases = leases + 1 RETURNING leases")?;
    Ok(statement.query_row((), |row| row.get(0))?)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Unusable::NotSqlite.into(),
            _ => Unavailable::Sqlite(error.into()).into(),
        }
    }
}
