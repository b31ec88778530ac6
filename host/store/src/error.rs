//! Errors of stores. Their texts may be logged and shown to callers: they never quote stored data, a URL or
//! a password.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The result of a store's operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The error of a store's operation. The variants differ in the reaction of a caller.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The operation failed, but may succeed later. Nothing was changed, unless the connection to the
    /// database broke or a file was lost during the commit: then either everything or nothing was changed.
    #[error("the store is not available: {0}")]
    Unavailable(#[from] Unavailable),
    /// The maximum number of calls waits for the store. Nothing was changed.
    #[error("the store is busy: too many calls wait for it. Retry later")]
    Busy,
    /// The lease is not valid any more: another one was given out, or this one was finished. Nothing was
    /// changed.
    #[error("the lease is not valid any more: another one was given out, or this one was finished")]
    LeaseLost,
    /// This program cannot use the store until an operator changes something.
    #[error("the store cannot be used: {0}")]
    Unusable(#[from] Unusable),
}

/// The reason why an operation failed that may succeed later.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    /// The store is closing.
    #[error("it is closing. Try again after the next start")]
    Closing,
    /// The operation panicked, or another one in the same transaction.
    #[error("an operation of the store panicked")]
    Panicked,
    /// The store did not respond within this time.
    #[error("no response within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// A thread of the store cannot be started.
    #[error("its thread cannot be started: {0}")]
    Thread(#[source] Arc<io::Error>),
    /// The store's file cannot be opened.
    #[error("{0}")]
    File(#[source] Arc<io::Error>),
    /// The folder of the store's file cannot be used.
    #[error("its folder: {0}")]
    Folder(#[source] Arc<io::Error>),
    /// This process does not have the rights that it needs.
    #[error("{0}")]
    Denied(#[source] Arc<Denied>),
    /// The lock file next to the store's file, which excludes other processes, cannot be opened or locked.
    #[error("its lock file cannot be opened or locked: {0}")]
    LockFile(#[source] Arc<io::Error>),
    /// Another process has the file open.
    #[error(
        "another process has it open. Stop that process first: only one at a time may use the file"
    )]
    InUse,
    /// The store's file has a second name.
    #[error(
        "the file has a second name (a hard link), so that two processes could open it. Remove one of the \
         names"
    )]
    HardLink,
    /// A file of the store is not at its path any more, so that the next start would not find the data.
    #[error(
        "{0} was removed, moved or replaced while it was open. Nothing is stored until it is back. Stop the server and \
         restore the file, or the copy that the log names"
    )]
    FileLost(StoreFile),
    /// The store was closed while another process had the file open, so that its write-ahead log remains.
    #[error(
        "another process has the file open, so that the newest data stays in the file with the suffix -wal. Keep \
         both files together"
    )]
    LogRemains,
    /// The transaction was rolled back, with all operations in it.
    #[error("the transaction was rolled back")]
    RolledBack,
    /// SQLite failed. Its texts name tables and columns, but do not quote stored data.
    #[error("{0}")]
    Sqlite(#[source] Arc<rusqlite::Error>),
    /// The connection pool cannot provide a connection.
    #[error("no connection to the database")]
    NoConnection,
    /// PostgreSQL failed or cannot be reached. The text is the part of its error that may be shown. The
    /// error itself is not kept, because it may quote stored data.
    #[error("{0}")]
    Postgres(String),
    /// Every retry conflicted with a change by another replica.
    #[error("every retry conflicted with a change by another replica")]
    Raced,
    /// A stored value is not one that this program writes.
    #[error("{0}")]
    Corrupt(&'static str),
}

/// A file or a folder on which this process does not have the rights that it needs.
#[derive(Debug)]
pub struct Denied {
    /// `file` or `folder`.
    pub kind: &'static str,
    /// The path of the file or folder.
    pub path: PathBuf,
    /// The id of the user to whom it belongs.
    pub owner: u32,
    /// The id of the group to which it belongs.
    pub group: u32,
    /// The permissions.
    pub mode: u32,
    /// The id of the user as whom this process runs.
    pub user: u32,
    /// The id of the group as which this process runs.
    pub user_group: u32,
    /// The error of the system.
    pub source: io::Error,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            owner,
            group,
            mode,
            user,
            user_group,
            source,
            ..
        } = self;
        let path = self.path.display();
        write!(
            f,
            "this process, which runs as user {user} and group {user_group}, cannot write the {kind} {path}: \
             {source}. It belongs to user {owner} and group {group}, with mode {mode:04o}"
        )?;
        if source.kind() != io::ErrorKind::PermissionDenied {
            return Ok(());
        }
        write!(
            f,
            ". Change its owner with `chown {user}:{user_group} {path}`, or run this program as user {owner}. \
             Run all commands that use the store as one user, `bulkhead migrate` too"
        )
    }
}

impl std::error::Error for Denied {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A file that an SQLite store consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreFile {
    /// The database.
    #[error("its file")]
    Database,
    /// The write-ahead log.
    #[error("its write-ahead log (-wal)")]
    WriteAheadLog,
    /// The index of the write-ahead log.
    #[error("the index of its write-ahead log (-shm)")]
    Index,
}

/// The reason why a store cannot be used until an operator changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The path is that of a folder, a pipe or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// The file is not an SQLite database.
    #[error("the file is not an SQLite database")]
    NotSqlite,
    /// The file is an SQLite database, but not one of this program.
    #[error("the file is a database of another program")]
    OtherProgram,
    /// The tables are newer than this program.
    #[error(
        "its tables have version {found}, but this program supports at most version {known}. Use the \
         program that wrote them, or a newer one"
    )]
    Newer {
        /// The version of the tables.
        found: i32,
        /// The newest version that this program supports.
        known: usize,
    },
    /// The tables are older than this program, or missing. Only a server upgrades them.
    #[error(
        "the file is empty or from an older version of this program. Start the server, which upgrades it"
    )]
    Older,
    /// The row with the version of the tables is missing.
    #[error("its table bulkhead_meta is empty. Restore it from a backup")]
    Empty,
    /// The URL has another form, or unknown options.
    #[error("its URL must be postgres://USER@HOST:PORT/DATABASE, with supported options only")]
    Url,
    /// The URL does not contain a host.
    #[error("its URL does not contain a host. Add one")]
    NoHost,
    /// The password is given twice.
    #[error("its password is given both in the URL and separately. Keep one of them")]
    TwoPasswords,
    /// The URL requires TLS, but the program has no root certificates.
    #[error(
        "its URL requires TLS, but there are no root certificates to verify the server. Install or name \
         some"
    )]
    NoRoots,
}
