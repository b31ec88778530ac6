//! The store in memory: a database that several replicas share, for simulations.
//!
//! It keeps to the same rules as the real ones and to nothing else: no disk, no threads, no order by
//! chance. All its answers are there at once.

mod notifications;
mod replica;

use crate::clock_monitor::{ClockMonitor, Reference};
use crate::rules::{self, SlotRow, Waiting};
use crate::{BootMillis, MessageState, Quota, RequestId, UnixMillis};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The database.
#[derive(Clone)]
pub struct Model {
    shared: Arc<Mutex<Shared>>,
    quota: Quota,
    /// What the database takes the time to be, in milliseconds. No replica trusts it.
    clock: Clock,
}

type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A process that uses the database.
pub struct Replica {
    shared: Arc<Mutex<Shared>>,
    quota: Quota,
    clock: Clock,
    boot_id: String,
    boot_clock: BootClock,
    clock_monitor: Mutex<ClockMonitor>,
}

type BootClock = Arc<dyn Fn() -> BootMillis + Send + Sync>;

/// What a replica takes the time to be, and what may be done by it.
#[derive(Clone, Copy)]
struct Look {
    /// The store's time: the database's, with its jumps taken out.
    now: i64,
    /// No call by this replica before then.
    held_until: i64,
    /// Whether it can be told how far a call lies back.
    is_certain: bool,
}

impl Model {
    /// An empty database, whose clock says what `clock` returns.
    pub fn new(quota: Quota, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::default(),
            quota,
            clock: Arc::new(clock),
        }
    }

    /// The same database, for replicas that are told another quota.
    #[must_use]
    pub fn with_quota(&self, quota: Quota) -> Self {
        Self {
            quota,
            ..self.clone()
        }
    }

    /// A process starts, on a machine whose present start is `boot_id` and whose clock is `boot_clock`.
    /// It dies by being dropped.
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
    /// A panic in between is one of the test that shares this.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is in the database.
#[derive(Default)]
struct Shared {
    messages: BTreeMap<i64, Message>,
    /// In the order in which they came.
    requests: BTreeMap<i64, Request>,
    slots: BTreeMap<u32, SlotState>,
    held_until: i64,
    /// What the database's clock is put right by, and how often it was.
    shift_ms: i64,
    epoch: i64,
    /// What processes found out of their machines' clocks, for others on the same machine.
    machines: BTreeMap<String, Reference>,
    /// What the slots were taken for; none in a new database.
    settled: Option<Quota>,
    /// Leases and claims that were given out, and ids.
    counter: i64,
}

struct Message {
    text: String,
    state: MessageState,
    tries: u32,
    created_at: UnixMillis,
    waits_since: i64,
    due_at: i64,
    finished_at: Option<UnixMillis>,
    lease: Leased,
}

struct Request {
    id: RequestId,
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
    tries: u32,
    first_try_at: Option<UnixMillis>,
    due_at: i64,
    last_error: Option<String>,
    lease: Leased,
}

struct SlotState {
    free_at: i64,
    claim: i64,
    check: bool,
}

/// The last try that was begun and not finished, and until when nobody else begins one.
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

    /// What is not known of calls before is waited for: those of a database that was lost, and those
    /// that were let go by a shorter window.
    fn join(&mut self, quota: Quota, now: i64) {
        let longer_ms = self.settled.map(|before| {
            let longer = |is: u32, was: u32| i64::from(is.saturating_sub(was));
            longer(quota.window_ms, before.window_ms) + longer(quota.margin_ms, before.margin_ms)
        });
        if longer_ms != Some(0) {
            self.held_until = self.held_until.max(now + quota.spared_ms());
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

    /// Messages that wait.
    fn pending(&self) -> impl Iterator<Item = (&i64, &Message)> {
        let pending = |(_, message): &(&i64, &Message)| message.state == MessageState::Pending;
        self.messages.iter().filter(pending)
    }

    fn backlog(&self) -> u64 {
        self.pending().count() as u64
    }

    /// The first that nobody is trying, of those that were tried before or of the others.
    fn first(&self, tried: bool) -> Option<Waiting> {
        let free = self
            .pending()
            .filter(|(_, message)| message.lease.until.is_none() && (message.tries > 0) == tried);
        let waiting = free.map(|(id, message)| Waiting {
            due_at: message.due_at,
            message: *id,
        });
        waiting.min()
    }
}

#[cfg(test)]
mod tests;
