//! The reasons why a store does not do what it is asked for. The texts may be logged and shown: they never
//! quote what is stored, nor a URL or a password.

use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The result of all functions of a store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The reason why a store did not do what it was asked for, by what a caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot now; it may later. Nothing was changed, or, where the connection broke before a commit was
    /// answered, all of it was.
    #[error("the store is not available: {0}")]
    Unavailable(#[from] Unavailable),
    /// Too much waits to be written. Nothing was changed.
    #[error("the store is busy: too much waits for it")]
    Busy,
    /// The lease was taken over, or its message is finished. Nothing was changed.
    #[error("the lease was lost")]
    LeaseLost,
    /// This program cannot use it, until somebody changes that.
    #[error("the store cannot be used: {0}")]
    Unusable(#[from] Unusable),
}

/// The reason why a store cannot be used now.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    /// It is being closed.
    #[error("it is being closed")]
    Closing,
    /// A call panicked, or another one that was to be written together with it.
    #[error("a call panicked")]
    Panicked,
    /// There was no answer within this time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The system does not start its thread.
    #[error("its thread does not start: {0}")]
    Thread(#[source] Arc<io::Error>),
    /// Its file cannot be opened.
    #[error("{0}")]
    File(#[source] Arc<io::Error>),
    /// The file beside it, whose lock keeps other processes away, cannot be opened or locked.
    #[error("its lock file: {0}")]
    LockFile(#[source] Arc<io::Error>),
    /// Another process has it open.
    #[error("another process has it open, and only one at a time may")]
    InUse,
    /// Its file has two names.
    #[error("the file has another name as well (a hard link), by which it could be opened twice")]
    HardLink,
    /// A transaction was rolled back whole, so that its parts are not there.
    #[error("the transaction was rolled back")]
    RolledBack,
    /// SQLite failed. Its texts name tables and columns, never what is in them.
    #[error("{0}")]
    Sqlite(#[source] Arc<rusqlite::Error>),
    /// The pool of connections has none.
    #[error("no connection")]
    NoConnection,
    /// PostgreSQL failed, or cannot be reached. The text is what may be shown of its error, which is not
    /// kept: it may quote what is stored.
    #[error("{0}")]
    Postgres(String),
    /// Other replicas changed the same thing each time.
    #[error("other replicas were faster each time")]
    Raced,
    /// Something that is stored is not what this program stores.
    #[error("{0}")]
    Corrupt(&'static str),
}

/// The reason why a store cannot be used at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The path leads to a folder, a pipe or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// The file is something else.
    #[error("the file is not an SQLite database")]
    NotSqlite,
    /// The file belongs to something else.
    #[error("the file is a database of another program")]
    OtherProgram,
    /// The tables are newer than this program.
    #[error(
        "its tables have version {found}, and this program knows {known}. Use the program that wrote \
         them, or a newer one"
    )]
    Newer {
        /// The version of the tables.
        found: i32,
        /// The newest that this program knows.
        known: usize,
    },
    /// The tables are older than this program, or missing, and only a server changes that.
    #[error(
        "the file is of an older version of this program, or empty: the server brings it up to date \
         when it starts"
    )]
    Older,
    /// The row that says what the tables are is missing.
    #[error("its table bulkhead_meta is empty. Restore it from a backup")]
    Emptied,
    /// The URL has another form, or unknown options.
    #[error("its URL is not postgres://USER@HOST:PORT/DATABASE with options that are known")]
    Url,
    /// The URL names no host.
    #[error("its URL names no host")]
    NoHost,
    /// Two passwords are given.
    #[error("its URL has a password, and there is another beside it. Keep one of them")]
    TwoPasswords,
    /// The URL asks for TLS, which was not set up.
    #[error("its URL asks for TLS, and there are no roots to verify certificates with")]
    NoRoots,
}
