//! The identity of the files that SQLite has open.
//!
//! A file may be removed, moved or replaced while it is open. SQLite then goes on using the open file, which the
//! next start does not find.

use super::access::beside;
use super::locked::{Identity, Locked, private};
use crate::{Result, StoreFile, Unavailable};
use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pause between two attempts to copy the data, if an attempt fails.
const RESCUE_PAUSE: Duration = Duration::from_mins(1);

/// Maximum number of copies beside the file.
const COPIES_MAX: u32 = 100;

/// The files of an open database.
pub(super) struct Files {
    /// The path without symbolic links.
    path: PathBuf,
    known: [(StoreFile, PathBuf, Option<Identity>); 3],
    /// `None` if no file is lost.
    loss: Option<Loss>,
}

/// A loss of a file that was found.
struct Loss {
    /// The time of the next attempt to copy the data, or `None` if there is a copy.
    rescue_at: Option<Instant>,
}

impl Files {
    /// Returns the files of a database that has just been written. `path` is the path by which a server opens
    /// it.
    pub(super) fn of(path: PathBuf, locked: &Locked) -> Self {
        let (log, index) = (locked.write_ahead_log(), beside(&locked.path, "-shm"));
        let (log_identity, index_identity) = (Identity::at(&log), Identity::at(&index));
        Self {
            path: locked.path.clone(),
            known: [
                (StoreFile::Database, path, Some(locked.identity)),
                (StoreFile::WriteAheadLog, log, log_identity),
                (StoreFile::Index, index, index_identity),
            ],
            loss: None,
        }
    }

    /// Checks that the paths lead to the open files. If they do again after a loss, the loss is over.
    ///
    /// # Errors
    /// [`Unavailable::FileLost`] with the first file that was removed, moved or replaced.
    pub(super) fn check(&mut self) -> Result<()> {
        let mut known = self.known.iter();
        let lost = known.find(|(_, path, identity)| Identity::at(path) != *identity);
        match lost {
            None => {
                if self.loss.take().is_some() {
                    tracing::info!("the files of the store are back");
                }
                Ok(())
            }
            Some((file, ..)) => {
                self.loss.get_or_insert_with(|| Loss {
                    rescue_at: Some(Instant::now()),
                });
                Err(Unavailable::FileLost(*file).into())
            }
        }
    }

    /// Copies the open database to a new file beside its path, once after each loss.
    pub(super) fn rescue(&mut self, connection: &Connection) {
        let Some(loss) = &mut self.loss else {
            return;
        };
        if loss.rescue_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        match copy(connection, &self.path) {
            Ok(copy) => {
                loss.rescue_at = None;
                let (file, copy) = (self.path.display(), copy.display());
                tracing::error!(
                    %file,
                    %copy,
                    "a file of the store was removed, moved or replaced; the data was copied. Stop the server, \
                     remove the file and the files beside it with the suffixes -wal and -shm, rename the copy to \
                     the name of the file, and start the server"
                );
            }
            Err(error) => {
                loss.rescue_at = Some(Instant::now() + RESCUE_PAUSE);
                tracing::error!(
                    file = %self.path.display(),
                    %error,
                    "a file of the store was removed, moved or replaced, and the data cannot be copied. The data \
                     is lost when the server ends"
                );
            }
        }
    }
}

/// Copies a database to the first free name beside `path`, readable by its owner only. Returns that name.
fn copy(connection: &Connection, path: &Path) -> Result<PathBuf> {
    let failed = |error: std::io::Error| Unavailable::File(error.into());
    for number in 1..=COPIES_MAX {
        let copy = beside(path, &format!(".rescue-{number}"));
        match private().create_new(true).open(&copy) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(failed(error).into()),
        }
        // The bytes of the name need not be UTF-8.
        let name = ToSqlOutput::Borrowed(ValueRef::Text(copy.as_os_str().as_bytes()));
        let copied = connection
            .execute("VACUUM INTO ?1", [name])
            .map_err(crate::StoreError::from)
            .and_then(|_| {
                Ok(File::open(&copy)
                    .and_then(|file| file.sync_all())
                    .map_err(failed)?)
            });
        if copied.is_err() {
            // It is incomplete. The error above is reported.
            let _remains = std::fs::remove_file(&copy);
        }
        return copied.map(|()| copy);
    }
    Err(failed(ErrorKind::AlreadyExists.into()).into())
}
