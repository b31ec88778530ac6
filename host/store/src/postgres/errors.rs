//! What went wrong, in words that may be logged.

use crate::{StoreError, Unavailable};
use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, SqlState};

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = match error.as_db_error() {
            Some(refused) => told(refused),
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
            // We never wait in the pool, and set up connections ourselves.
            _ => Unavailable::NoConnection.into(),
        }
    }
}

/// The server's own words only where they are about the server. Its other texts may quote what was
/// written, the more so the details.
fn told(refused: &DbError) -> String {
    /// Connection, transaction, authorisation, database, schema, privileges and names, resources,
    /// operator, system.
    const OF_THE_SERVER: [&str; 9] = ["08", "25", "28", "3D", "3F", "42", "53", "57", "58"];
    let code = refused.code().code();
    if OF_THE_SERVER.iter().any(|class| code.starts_with(class)) {
        return format!("{} ({code})", refused.message());
    }
    let name = |what, name: Option<&str>| name.map_or(String::new(), |is| format!(", {what} {is}"));
    let table = name("table", refused.table());
    let constraint = name("constraint", refused.constraint());
    format!("the database refused it ({code}{table}{constraint})")
}

/// All layers of an error that the server had no part in.
fn cause(error: &tokio_postgres::Error) -> String {
    let mut told = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        told = format!("{told}: {error}");
        source = error.source();
    }
    told
}

/// A statement met what another one had just done: a row that is there now, or is no longer.
pub(super) fn is_raced(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        *code == SqlState::UNIQUE_VIOLATION || *code == SqlState::FOREIGN_KEY_VIOLATION
    })
}
