//! The store in an SQLite file, for one process.

mod access;
mod attempts;
mod clock;
mod database;
mod files;
mod locked;
mod notifications;
mod open;
mod queries;
mod queues;
mod reader;
mod recovery;
mod requests;
mod schema;
mod slots;
mod worker;
mod writer;

use crate::{
    Accepted, Attempt, BacklogMax, Claim, NewRequest, Notification, NotificationLease,
    NotificationOutcome, Now, Outcome, Quota, Redelivery, RequestId, RequestQuery, RequestView,
    Result, Slot, SlotEnd, Store, StoreFuture, StoreStats, Viewer,
};
use clock::Clock;
use database::Database;
use reader::Reader;
use requests::Fingerprint;
use std::path::Path;
use writer::Writer;

/// Maximum number of waiting reads, and of waiting writes, of a store that was opened with
/// [`Sqlite::inspect`].
const INSPECT_WAITING_MAX: usize = 16;

/// A store in an SQLite file. Dropping it blocks until all accepted operations are written.
pub struct Sqlite {
    /// Closed before the writer, because the last connection that closes the file removes its write-ahead log.
    /// A read-only connection cannot do that.
    reader: Reader,
    writer: Writer,
    /// Converts the machine's clock, which callers use, to the store's time, which all modules below use.
    clock: Clock,
}

impl Sqlite {
    /// Opens the file for a server, creates it if it is missing, and recovers the state that an earlier
    /// process left.
    ///
    /// `boot_id` identifies the current start of the machine, to whose clock `now.boot` belongs. At most
    /// `waiting_max` writes and `waiting_max` reads wait. Further ones fail with
    /// [`StoreError::Busy`](crate::StoreError::Busy).
    ///
    /// # Errors
    /// [`Unusable`](crate::Unusable) if the file is not a store or its version is newer.
    /// [`Unavailable`](crate::Unavailable) if the file cannot be opened now or another process has it open.
    pub fn open(
        path: &Path,
        boot_id: &str,
        quota: Quota,
        now: Now,
        waiting_max: usize,
    ) -> Result<Self> {
        let database = Database::open(path, boot_id, quota, now)?;
        Self::start(path, database, waiting_max)
    }

    /// Checks that [`Sqlite::open`] can open or create the file with the rights of this process. Creates, changes
    /// and locks no file. A server may have the file open.
    ///
    /// # Errors
    /// The errors of [`Sqlite::open`], as far as they are visible without opening the file for writing.
    pub fn check(path: &Path) -> Result<()> {
        access::check(path)
    }

    /// Creates the file if it is missing, upgrades it to the current version, and closes it. Idempotent.
    ///
    /// # Errors
    /// The errors of [`Sqlite::open`].
    pub fn migrate(path: &Path) -> Result<()> {
        Database::migrated(path).map(drop)
    }

    /// Opens the file to read it and to request redeliveries, also while a server has it open.
    ///
    /// Does not recover anything and does not create the file. The server is not notified of changes: it
    /// finds due notifications when it next looks for them.
    ///
    /// # Errors
    /// The errors of [`Sqlite::open`], except that another process may have the file open.
    /// [`Unusable::Older`](crate::Unusable::Older) if only a server can upgrade the file.
    pub fn inspect(path: &Path, boot_id: &str, quota: Quota, now: Now) -> Result<Self> {
        let database = Database::inspect(path, boot_id, quota, now)?;
        Self::start(path, database, INSPECT_WAITING_MAX)
    }

    fn start(path: &Path, database: Database, waiting_max: usize) -> Result<Self> {
        Ok(Self {
            clock: database.clock,
            reader: Reader::start(database.reader(path)?, waiting_max)?,
            writer: Writer::start(database, waiting_max)?,
        })
    }
}

impl Sqlite {
    /// Runs `call` on the writer thread, with the store's time.
    fn write<R: Send + 'static>(
        &self,
        now: Now,
        call: impl FnOnce(&mut Database, Now) -> Result<R> + Send + 'static,
    ) -> StoreFuture<'_, R> {
        let now = self.clock.now(now);
        Box::pin(self.writer.call(move |database| call(database, now)))
    }

    /// Runs `look` on the reader thread, with the store's time.
    fn read<R: Send + 'static>(
        &self,
        now: Now,
        look: impl FnOnce(&Database, Now) -> Result<R> + Send + 'static,
    ) -> StoreFuture<'_, R> {
        let now = self.clock.now(now);
        Box::pin(self.reader.look(move |database| look(database, now)))
    }
}

impl Store for Sqlite {
    fn accept(&self, new: NewRequest, max: BacklogMax, now: Now) -> StoreFuture<'_, Accepted> {
        let fingerprint = Fingerprint::of(&new.message);
        self.write(now, move |it, now| it.accept(&new, fingerprint, max, now))
    }

    fn request(
        &self,
        id: RequestId,
        viewer: Viewer,
        now: Now,
    ) -> StoreFuture<'_, Option<RequestView>> {
        self.read(now, move |it, now| it.request(&id, &viewer, now))
    }

    fn signature(&self, message: String) -> StoreFuture<'_, Option<String>> {
        let fingerprint = Fingerprint::of(&message);
        let look = move |it: &Database| it.signature(fingerprint, &message);
        Box::pin(self.reader.look(look))
    }

    fn claim_attempt(&self, now: Now) -> StoreFuture<'_, Claim<Attempt>> {
        let clock = self.clock;
        self.write(now, move |it, now| {
            let mut claim = it.claim_attempt(now)?;
            if let Claim::Acquired(Attempt { slot, .. }) = &mut claim {
                slot.send_before = clock.to_machine(slot.send_before);
            }
            Ok(claim)
        })
    }

    fn finish_attempt(
        &self,
        claimed: Attempt,
        end: SlotEnd,
        outcome: Outcome,
        answered: Vec<RequestId>,
        now: Now,
    ) -> StoreFuture<'_, ()> {
        self.write(now, move |it, now| {
            it.finish_attempt(&claimed, end, &outcome, &answered, now)
        })
    }

    fn claim_check(&self, checks_max: u32, now: Now) -> StoreFuture<'_, Claim<Slot>> {
        let clock = self.clock;
        self.write(now, move |it, now| {
            let mut claim = it.claim_check(checks_max, now)?;
            if let Claim::Acquired(slot) = &mut claim {
                slot.send_before = clock.to_machine(slot.send_before);
            }
            Ok(claim)
        })
    }

    fn end_check(&self, slot: Slot, end: SlotEnd, now: Now) -> StoreFuture<'_, ()> {
        self.write(now, move |it, now| it.end_check(&slot, end, now))
    }

    fn hold_calls(&self, for_ms: u64, now: Now) -> StoreFuture<'_, ()> {
        self.write(now, move |it, now| it.hold_calls(for_ms, now))
    }

    fn claim_notifications(
        &self,
        max: u32,
        busy: Vec<String>,
        now: Now,
    ) -> StoreFuture<'_, Claim<Vec<Notification>>> {
        self.write(now, move |it, now| it.claim_notifications(max, &busy, now))
    }

    fn finish_notification(
        &self,
        lease: NotificationLease,
        outcome: NotificationOutcome,
        now: Now,
    ) -> StoreFuture<'_, ()> {
        self.write(now, move |it, now| {
            it.finish_notification(&lease, &outcome, now)
        })
    }

    fn redeliver(&self, request: RequestId, now: Now) -> StoreFuture<'_, Redelivery> {
        self.write(now, move |it, now| it.redeliver(&request, now))
    }

    fn list(&self, query: RequestQuery, now: Now) -> StoreFuture<'_, Option<Vec<RequestView>>> {
        self.read(now, move |it, now| it.list(&query, now))
    }

    fn sweep(&self, retention_ms: u64, max: u32, now: Now) -> StoreFuture<'_, u64> {
        self.write(now, move |it, now| it.sweep(retention_ms, max, now))
    }

    fn stats(&self, now: Now) -> StoreFuture<'_, StoreStats> {
        self.read(now, Database::stats)
    }

    fn heartbeat(&self, now: Now) -> StoreFuture<'_, ()> {
        self.write(now, Database::heartbeat)
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async {
            let read = self.reader.close().await;
            self.writer.close().await.and(read)
        })
    }
}

#[cfg(test)]
mod tests;
