//! The store in a PostgreSQL database (13 or later), for any number of replicas.
//!
//! Replicas know nothing of each other but what is in the database, and any of them may stop at any
//! time. Three things hold them together:
//!
//! - **The store's time** is the database's clock with its jumps taken out. No replica trusts it: see
//!   [`crate::clock_monitor`] and `clock`.
//! - **Sessions** hold leases. One that does not beat is dead, whatever the time is: see `sessions`.
//! - **Row locks** in one order: `bulkhead_meta`, slots, messages, requests, notifications, and the
//!   counts last. Whoever holds a later one waits for no earlier one. The lock on `bulkhead_meta` puts
//!   all claims of slots in a row, so that each sees what the one before did.
//!
//! Transactions are READ COMMITTED: each statement sees what was committed before it, and a row that
//! another one changed meanwhile is looked at again. Connections must not be shared by a pooler that
//! hands them out for single transactions (`PgBouncer` in its mode `transaction`): settings of the session
//! are part of the promise.

mod attempts;
mod clock;
mod connections;
mod errors;
mod notifications;
mod queries;
mod requests;
mod schema;
mod sessions;
mod slots;

use crate::clock_monitor::ClockMonitor;
use crate::{
    Accepted, Attempt, BacklogMax, BootMillis, Claim, Listed, NewRequest, Notification,
    NotificationLease, NotificationOutcome, Now, Outcome, Quota, Redelivery, RequestId,
    RequestView, Result, Slot, SlotEnd, Store, StoreFuture, StoreStats, Unavailable,
};
use connections::{Connections, PoolClass};
use deadpool_postgres::Client;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

/// What a replica brings along.
pub struct PostgresSetup {
    /// For `sslmode=prefer` and `require`; certificates are always verified. Without it there is no TLS.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The password, where the URL has none.
    pub password: Option<Vec<u8>>,
    /// Connections at most; at least two are used, one of them for the work behind the answers.
    pub connections_max: usize,
    /// Names the current start of the machine.
    pub boot_id: String,
    /// The machine's clock, the one of [`Now::boot`].
    pub boot_clock: Arc<dyn Fn() -> BootMillis + Send + Sync>,
    /// What the upstream allows.
    pub quota: Quota,
    /// For each call. The server ends what we gave up.
    pub timeout: Duration,
}

/// The store in a PostgreSQL database, as one replica uses it. Every function that changes something
/// returns when the database has it on disk.
///
/// What is called goes on when nobody waits for it any more. A call that fails may have been done all
/// the same, where the connection broke before its outcome was known.
pub struct Postgres {
    replica: Arc<Replica>,
    /// Of its own, so that neither a busy nor a stopped thread of a caller holds up connections that
    /// others use. None while it is being dropped.
    runtime: Option<Runtime>,
}

struct Replica {
    connections: Connections,
    boot_id: String,
    boot_clock: Arc<dyn Fn() -> BootMillis + Send + Sync>,
    quota: Quota,
    state: Mutex<State>,
}

/// What a replica knows by itself.
struct State {
    clock_monitor: ClockMonitor,
    /// When the machine's row was last written.
    machine_at: Option<BootMillis>,
    session: Option<i64>,
    others: sessions::Others,
}

/// What a call does with a connection.
type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'c>>;

impl Postgres {
    /// Connects when it is first called, so that the database may be away now. The tables are made or
    /// brought up to date then.
    ///
    /// # Errors
    /// [`Unusable`](crate::Unusable) where the URL cannot be used, or asks for TLS that was not set up, and
    /// [`Unavailable::Thread`] where the thread for its connections does not start.
    pub fn connect(url: &str, setup: PostgresSetup) -> Result<Self> {
        let connections = Connections::new(url, &setup)?;
        let clock_monitor = ClockMonitor::new(setup.quota);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store")
            .enable_all()
            .build()
            .map_err(|error| Unavailable::Thread(error.into()))?;
        Ok(Self {
            replica: Arc::new(Replica {
                connections,
                boot_id: setup.boot_id,
                boot_clock: setup.boot_clock,
                quota: setup.quota,
                state: Mutex::new(State {
                    clock_monitor,
                    machine_at: None,
                    session: None,
                    others: sessions::Others::default(),
                }),
            }),
            runtime: Some(runtime),
        })
    }

    /// Makes the tables or brings them up to date. Otherwise the first call does.
    pub fn migrate(&self) -> StoreFuture<'_, ()> {
        self.call(PoolClass::Work, |_, _| Box::pin(std::future::ready(Ok(()))))
    }

    fn call<T: Send + 'static>(
        &self,
        class: PoolClass,
        work: impl for<'c> FnOnce(&'c Replica, &'c mut Client) -> Work<'c, T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let replica = Arc::clone(&self.replica);
        Box::pin(async move {
            let runtime = self.runtime.as_ref().ok_or(Unavailable::Closing)?;
            let done =
                runtime.spawn(async move { replica.connections.with(class, &replica, work).await });
            match done.await {
                Ok(done) => done,
                Err(error) if error.is_panic() => {
                    // A bug of ours, but it must not take the store out of service.
                    tracing::error!("a call of the store panicked");
                    Err(Unavailable::Panicked.into())
                }
                Err(_) => Err(Unavailable::Closing.into()),
            }
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // May be dropped where nothing may block.
            runtime.shutdown_background();
        }
    }
}

impl Replica {
    /// A panic in between is one of a call that was reported.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Postgres {
    fn accept(&self, new: NewRequest, max: BacklogMax, _now: Now) -> StoreFuture<'_, Accepted> {
        self.call(PoolClass::Callers, move |_, connection| {
            Box::pin(requests::accept(connection, new, max))
        })
    }

    fn request(&self, id: RequestId, now: Now) -> StoreFuture<'_, Option<RequestView>> {
        self.call(PoolClass::Callers, move |_, connection| {
            Box::pin(queries::request(connection, id, now))
        })
    }

    fn signature(&self, message: String) -> StoreFuture<'_, Option<String>> {
        self.call(PoolClass::Callers, move |_, connection| {
            Box::pin(requests::signature(connection, message))
        })
    }

    fn claim_attempt(&self, now: Now) -> StoreFuture<'_, Claim<Attempt>> {
        self.call(PoolClass::Work, move |replica, connection| {
            Box::pin(replica.claim_attempt(connection, now))
        })
    }

    fn finish_attempt(
        &self,
        claimed: Attempt,
        end: SlotEnd,
        outcome: Outcome,
        answered: Vec<RequestId>,
        _now: Now,
    ) -> StoreFuture<'_, ()> {
        self.call(PoolClass::Work, move |replica, connection| {
            Box::pin(replica.finish_attempt(connection, claimed, end, outcome, answered))
        })
    }

    fn claim_check(&self, checks_max: u32, now: Now) -> StoreFuture<'_, Claim<Slot>> {
        self.call(PoolClass::Work, move |replica, connection| {
            Box::pin(replica.claim_check(connection, checks_max, now))
        })
    }

    fn end_check(&self, slot: Slot, end: SlotEnd, _now: Now) -> StoreFuture<'_, ()> {
        self.call(PoolClass::Work, move |replica, connection| {
            Box::pin(replica.end_check(connection, slot, end))
        })
    }

    fn hold_calls(&self, for_ms: u64, _now: Now) -> StoreFuture<'_, ()> {
        self.call(PoolClass::Work, move |replica, connection| {
            Box::pin(replica.hold_calls(connection, for_ms))
        })
    }

    fn claim_notifications(
        &self,
        max: u32,
        busy: Vec<String>,
        now: Now,
    ) -> StoreFuture<'_, Claim<Vec<Notification>>> {
        self.call(PoolClass::Work, move |replica, connection| {
            Box::pin(replica.claim_notifications(connection, max, busy, now))
        })
    }

    fn finish_notification(
        &self,
        lease: NotificationLease,
        outcome: NotificationOutcome,
        _now: Now,
    ) -> StoreFuture<'_, ()> {
        self.call(PoolClass::Work, move |replica, connection| {
            Box::pin(replica.finish_notification(connection, lease, outcome))
        })
    }

    fn redeliver(&self, request: RequestId, _now: Now) -> StoreFuture<'_, Redelivery> {
        self.call(PoolClass::Callers, move |replica, connection| {
            Box::pin(replica.redeliver(connection, request))
        })
    }

    fn list(&self, which: Listed, max: u32, now: Now) -> StoreFuture<'_, Vec<RequestView>> {
        self.call(PoolClass::Callers, move |_, connection| {
            Box::pin(queries::list(connection, which, max, now))
        })
    }

    fn sweep(&self, retention_ms: u64, max: u32, _now: Now) -> StoreFuture<'_, u64> {
        self.call(PoolClass::Work, move |replica, connection| {
            Box::pin(replica.sweep(connection, retention_ms, max))
        })
    }

    fn stats(&self, _now: Now) -> StoreFuture<'_, StoreStats> {
        self.call(PoolClass::Callers, move |replica, connection| {
            Box::pin(replica.stats(connection))
        })
    }

    fn heartbeat(&self, now: Now) -> StoreFuture<'_, ()> {
        self.call(PoolClass::Work, move |replica, connection| {
            Box::pin(replica.heartbeat(connection, now))
        })
    }
}

#[cfg(test)]
mod tests;
