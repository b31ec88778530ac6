//! The store in a PostgreSQL database (13 or later), for any number of replicas.
//!
//! Replicas share state only through the database, and each of them may stop at any time. Three
//! mechanisms coordinate them:
//!
//! - **The store's time** is the database's clock without its jumps. Each replica verifies it: see
//!   [`crate::clock_monitor`] and `clock`.
//! - **Sessions** own leases. A session without heartbeats is dead, whatever the time is: see
//!   `sessions`.
//! - **Row locks** are taken in one order: `bulkhead_meta`, slots, messages, requests,
//!   notifications, and the counts last. A transaction that holds a later lock never waits for an
//!   earlier one. The lock on `bulkhead_meta` serialises all claims of slots, so that each claim
//!   sees the effects of the one before.
//!
//! Transactions are READ COMMITTED: each statement sees what was committed before it, and evaluates
//! a row again that another transaction has changed meanwhile. Connections must not go through a
//! pooler that assigns them per transaction (`PgBouncer` in its mode `transaction`), because the
//! guarantees depend on settings of the session.

mod attempts;
mod clock;
mod connections;
mod errors;
mod notifications;
mod queries;
mod queues;
mod requests;
mod schema;
mod sessions;
mod slots;

use crate::clock_monitor::ClockMonitor;
use crate::{
    Accepted, Attempt, BacklogMax, BootMillis, Claim, NewRequest, Notification, NotificationLease,
    NotificationOutcome, Now, Outcome, Quota, Redelivery, RequestId, RequestQuery, RequestView,
    Result, Slot, SlotEnd, Store, StoreFuture, StoreStats, Unavailable, Viewer,
};
use connections::{Connections, PoolClass};
use deadpool_postgres::Client;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

/// The settings of a replica.
pub struct PostgresSetup {
    /// The TLS configuration for `sslmode=prefer` and `require`. Certificates are always verified.
    /// Default: connections without TLS.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The password, if the URL does not contain one.
    pub password: Option<Vec<u8>>,
    /// Maximum number of connections. At least two are used. A quarter of them, at least one, is
    /// reserved for work other than calls of clients.
    pub connections_max: usize,
    /// Identifies the current boot of the machine.
    pub boot_id: String,
    /// The clock of the machine that [`Now::boot`] uses.
    pub boot_clock: Arc<dyn Fn() -> BootMillis + Send + Sync>,
    /// The quota of the upstream.
    pub quota: Quota,
    /// Maximum time of each call. The database server cancels statements and transactions that
    /// exceed it.
    pub timeout: Duration,
}

/// The store in a PostgreSQL database, as one replica uses it.
///
/// A method that changes something returns after the database has written the change to disk. A
/// call continues if its future is dropped. A failed call may have taken effect if the connection
/// broke before its outcome was known.
pub struct Postgres {
    replica: Arc<Replica>,
    /// A separate runtime, so that a busy or stopped thread of a caller does not delay connections
    /// that others use. `None` while the store is dropped.
    runtime: Option<Runtime>,
}

struct Replica {
    connections: Connections,
    boot_id: String,
    boot_clock: Arc<dyn Fn() -> BootMillis + Send + Sync>,
    quota: Quota,
    state: Mutex<State>,
}

/// The state of a replica that is not in the database.
struct State {
    clock_monitor: ClockMonitor,
    /// The time at which the machine's row was last written.
    machine_at: Option<BootMillis>,
    session: Option<i64>,
    others: sessions::Others,
}

/// The work of a call with a connection.
type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'c>>;

impl Postgres {
    /// Creates the store without connecting, so that the database need not be available yet. The
    /// first call connects, and creates or migrates the tables.
    ///
    /// # Errors
    /// [`Unusable`](crate::Unusable) if the URL cannot be used, or requires TLS that was not set
    /// up, and [`Unavailable::Thread`] if the thread for its connections cannot be started.
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

    /// Creates or migrates the tables. Otherwise the first call does it. This is idempotent.
    ///
    /// # Errors
    /// [`Unavailable`] if the database cannot be used now, and [`Unusable`](crate::Unusable) if its
    /// tables cannot be used.
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
                    // This is a bug, but the store must stay available.
                    tracing::error!("a store operation panicked");
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
            // The store may be dropped where blocking is not allowed.
            runtime.shutdown_background();
        }
    }
}

impl Replica {
    /// A panic while the lock was held was already reported by its call.
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

    fn request(
        &self,
        id: RequestId,
        viewer: Viewer,
        now: Now,
    ) -> StoreFuture<'_, Option<RequestView>> {
        self.call(PoolClass::Callers, move |_, connection| {
            Box::pin(queries::request(connection, id, viewer, now))
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

    fn list(&self, query: RequestQuery, now: Now) -> StoreFuture<'_, Option<Vec<RequestView>>> {
        self.call(PoolClass::Callers, move |_, connection| {
            Box::pin(queries::list(connection, query, now))
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
