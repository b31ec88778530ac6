//! The opened file: what a thread of its own works on.

use super::clock::Clock;
use crate::{Quota, Result, StoreError, Unavailable, Unusable};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

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
    pub(super) fn new(
        connection: Connection,
        quota: Quota,
        lock: Option<std::fs::File>,
    ) -> Result<Self> {
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

    /// What was committed before, all of it of one moment.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Self) -> Result<R>) -> Result<R> {
        let _ends_when_dropped = self.connection.unchecked_transaction()?;
        look(self)
    }
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
            Some(ErrorCode::NotADatabase) => Unusable::NotSqlite.into(),
            _ => Unavailable::Sqlite(error.into()).into(),
        }
    }
}
