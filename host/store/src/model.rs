//! A store in memory that several replicas can share, for simulations.
//!
//! It follows the same rules as the other stores, without a disk, threads or randomness. All its futures
//! are ready at once.

mod notifications;
mod replica;

use crate::clock_monitor::{ClockMonitor, Reference};
use crate::rules::{self, CallerQueue, SlotRow, Waiting};
use crate::{BootMillis, MessageState, Owner, Quota, RequestId, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The database that replicas share. Clones share the same data.
#[derive(Clone)]
pub struct Model {
    shared: Arc<Mutex<Shared>>,
    quota: Quota,
    /// The database's clock, in milliseconds. Replicas compare it with their own clocks and do not trust
    /// it.
    clock: Clock,
}

type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A process that uses the database. Implements [`Store`](crate::Store).
pub struct Replica {
    shared: Arc<Mutex<Shared>>,
    quota: Quota,
    clock: Clock,
    boot_id: String,
    boot_clock: BootClock,
    clock_monitor: Mutex<ClockMonitor>,
}

type BootClock = Arc<dyn Fn() -> BootMillis + Send + Sync>;

/// A replica's reading of the store's time.
#[derive(Clone, Copy)]
struct Look {
    /// The store's time: the database's clock without its jumps.
    now: i64,
    /// This replica makes no call before this time.
    held_until: i64,
    /// Whether the reading is exact enough to shorten the claim of a call that has ended.
    is_certain: bool,
}

impl Model {
    /// Creates an empty database. `clock` returns the database's time in milliseconds.
    pub fn new(quota: Quota, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::default(),
            quota,
            clock: Arc::new(clock),
        }
    }

    /// Returns the same database with another quota for replicas that start later.
    #[must_use]
    pub fn with_quota(&self, quota: Quota) -> Self {
        Self {
            quota,
            ..self.clone()
        }
    }

    /// Starts a process on a machine with this `boot_id` and this boot clock. Dropping the replica
    /// simulates a crash.
    pub fn replica(
        &self,
        boot_id: &str,
        boot_clock: impl Fn() -> BootMillis + Send + Sync + 'static,
    ) -> Replica {
        let replica = Replica {
            shared: Arc::clone(&self.shared),
            quota: self.quota,
            clock: Arc::clone(&self.clock),
            boot_id: boot_id.to_owned(),
            boot_clock: Arc::new(boot_clock),
            clock_monitor: Mutex::new(ClockMonitor::new(self.quota)),
        };
        replica.join();
        replica
    }
}

impl Replica {
    /// Ignores poisoning, because only a panic of a test can cause it.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The contents of the database.
#[derive(Default)]
struct Shared {
    messages: BTreeMap<i64, Message>,
    /// Keys ascend in the order of arrival.
    requests: BTreeMap<i64, Request>,
    slots: BTreeMap<u32, SlotState>,
    held_until: i64,
    /// The correction of the database's clock, and the number of corrections so far.
    shift_ms: i64,
    epoch: i64,
    /// By boot id: the known difference between the store's time and a machine's clock. Later processes on
    /// the machine use it.
    machines: BTreeMap<String, Reference>,
    /// The quota that the slots are claimed with. `None` in a new database.
    settled: Option<Quota>,
    /// The owner whose queue had the last turn.
    last_owner: String,
    /// The last number that was used as a lease, a claim or an id.
    counter: i64,
}

struct Message {
    text: String,
    /// The owner of the queue, as in a column.
    owner: String,
    state: MessageState,
    attempts: u32,
    created_at: UnixMillis,
    waits_since: i64,
    due_at: i64,
    finished_at: Option<UnixMillis>,
    lease: Leased,
}

struct Request {
    id: RequestId,
    owner: Option<Owner>,
    message: i64,
    callback: Option<crate::Callback>,
    trace: Option<crate::TraceParent>,
    created_at: UnixMillis,
    done_at: Option<UnixMillis>,
    shared: bool,
    notification: Option<Notified>,
}

struct Notified {
    state: crate::NotificationState,
    attempts: u32,
    first_attempt_at: Option<UnixMillis>,
    due_at: i64,
    last_error: Option<String>,
    lease: Leased,
}

struct SlotState {
    free_at: i64,
    claim: i64,
    check: bool,
}

/// The last attempt that is not finished. No other attempt can be claimed before `until`.
#[derive(Default)]
struct Leased {
    token: Option<i64>,
    until: Option<i64>,
}

impl Leased {
    fn expire(&mut self, now: i64) {
        self.until = self.until.filter(|until| *until > now);
    }
}

impl Shared {
    fn count(&mut self) -> i64 {
        self.counter += 1;
        self.counter
    }

    /// Adapts the slots to the quota of a new process.
    ///
    /// Earlier calls are not fully known in a new database, which may replace a lost one, and after the
    /// window has become longer. Then no call is made for as long as an earlier one may count.
    fn join(&mut self, quota: Quota, now: i64) {
        let longer_ms = self.settled.map(|before| {
            let longer = |is: u32, was: u32| i64::from(is.saturating_sub(was));
            longer(quota.window_ms, before.window_ms) + longer(quota.margin_ms, before.margin_ms)
        });
        if longer_ms != Some(0) {
            self.held_until = self.held_until.max(now + quota.cooldown_ms());
        }
        for slot in self.slots.values_mut() {
            slot.free_at += longer_ms.unwrap_or(0);
        }
        self.settled = Some(quota);
        let calls = quota.calls as usize;
        while self.slots.len() > calls
            && let Some(free) = rules::freest(&self.slots()).filter(|slot| slot.free_at <= now)
        {
            self.slots.remove(&free.number);
        }
        while self.slots.len() < calls {
            let number = self.slots.keys().last().map_or(0, |last| last + 1);
            let slot = SlotState {
                free_at: now,
                claim: 0,
                check: false,
            };
            self.slots.insert(number, slot);
        }
    }

    fn slots(&self) -> Vec<SlotRow> {
        let row = |(number, slot): (&u32, &SlotState)| SlotRow {
            number: *number,
            free_at: slot.free_at,
            check: slot.check,
        };
        self.slots.iter().map(row).collect()
    }

    /// Returns the messages that wait.
    fn pending(&self) -> impl Iterator<Item = (&i64, &Message)> {
        let pending = |(_, message): &(&i64, &Message)| message.state == MessageState::Pending;
        self.messages.iter().filter(pending)
    }

    fn backlog(&self) -> u64 {
        self.pending().count() as u64
    }

    /// Returns the messages of an owner without an active attempt. `tried` selects the messages with finished
    /// attempts, or those without any.
    fn queued(&self, owner: &str, tried: bool) -> impl Iterator<Item = Waiting> {
        let free = self.pending().filter(move |(_, message)| {
            message.owner == owner
                && message.lease.until.is_none()
                && (message.attempts > 0) == tried
        });
        free.map(|(id, message)| Waiting {
            due_at: message.due_at,
            message: *id,
        })
    }

    /// Returns the queues with a message that has no active attempt.
    fn queues(&self) -> Vec<CallerQueue> {
        let owners: BTreeSet<&str> = self.pending().map(|(_, it)| it.owner.as_str()).collect();
        let queues = owners.into_iter().map(|owner| CallerQueue {
            owner: owner.to_owned(),
            fresh: self.queued(owner, false).min(),
            tried: self.queued(owner, true).min(),
        });
        queues.collect()
    }

    /// Moves a message that another owner has requested into that owner's queue, if fewer messages precede it
    /// there.
    fn join_queue(&mut self, id: i64, owner: Option<&Owner>) {
        let (message, owner) = (&self.messages[&id], Owner::column(owner));
        let preceding = |owner: &str| {
            let is_tried = message.attempts > 0;
            let is_earlier = |other: &Waiting| other.due_at < message.due_at;
            let fresh = self.queued(owner, false);
            let fresh = fresh.filter(|other| is_tried || is_earlier(other));
            let tried = self.queued(owner, true);
            let tried = tried.filter(|other| is_tried && is_earlier(other));
            fresh.count() + tried.count()
        };
        let is_free = message.lease.until.is_none();
        if is_free && preceding(owner) < preceding(&message.owner) {
            let owner = owner.to_owned();
            self.messages
                .get_mut(&id)
                .expect("message should exist")
                .owner = owner;
        }
    }
}

#[cfg(test)]
mod tests;
