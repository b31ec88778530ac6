//! Errors of PostgreSQL as texts that may be logged.

use crate::{StoreError, Unavailable};
use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, SqlState};

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = match error.as_db_error() {
            Some(error) => describe(error),
            None => cause(&error),
        };
        Unavailable::Postgres(text).into()
    }
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Closed => Unavailable::Closing.into(),
            // The pool itself never waits, and connections are set up elsewhere.
            _ => Unavailable::NoConnection.into(),
        }
    }
}

/// Describes an error of the server. Its message is used only if it is about the server. Other
/// messages and all details may quote stored data.
fn describe(error: &DbError) -> String {
    /// Classes of SQLSTATE: connection, transaction, authorisation, database, schema, privileges
    /// and names, resources, operator, system.
    const ABOUT_THE_SERVER: [&str; 9] = ["08", "25", "28", "3D", "3F", "42", "53", "57", "58"];
    let code = error.code().code();
    if ABOUT_THE_SERVER.iter().any(|class| code.starts_with(class)) {
        return format!("{} ({code})", error.message());
    }
    let name = |what, name: Option<&str>| name.map_or(String::new(), |is| format!(", {what} {is}"));
    let table = name("table", error.table());
    let constraint = name("constraint", error.constraint());
    format!("the database rejected the statement ({code}{table}{constraint})")
}

/// Describes an error that does not come from the server, with all its sources.
fn cause(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Returns whether a concurrent statement has created or removed a row that this one needed.
pub(super) fn is_raced(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        *code == SqlState::UNIQUE_VIOLATION || *code == SqlState::FOREIGN_KEY_VIOLATION
    })
}
