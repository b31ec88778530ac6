//! Virtual time: tasks run one after the other in a random order. When all of them wait, the clock advances
//! to the next time that one of them waits for.

use bulkhead_relay::BoxFuture;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The process that a task belongs to. The task ends with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner(pub(crate) u64);

/// The owner of tasks that belong to no process, such as calls in the network. They end with the simulation.
pub(crate) const NATURE: Owner = Owner(0);

/// The current time, and the timers that wait for it.
#[derive(Clone, Default)]
pub(crate) struct Clockwork(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    now_ms: i64,
    timers: BTreeMap<(i64, u64), Waker>,
    next: u64,
    spawned: Vec<(Owner, BoxFuture<'static, ()>)>,
    ready: BTreeSet<u64>,
}

impl Clockwork {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.inner().now_ms
    }

    pub(crate) fn spawn(&self, owner: Owner, task: BoxFuture<'static, ()>) {
        self.inner().spawned.push((owner, task));
    }

    pub(crate) fn sleep_until(&self, at_ms: i64) -> BoxFuture<'static, ()> {
        let clockwork = self.clone();
        let mut key: Option<(i64, u64)> = None;
        Box::pin(std::future::poll_fn(move |context| {
            let mut inner = clockwork.inner();
            if let Some(key) = key.take() {
                inner.timers.remove(&key);
            }
            if inner.now_ms >= at_ms {
                return Poll::Ready(());
            }
            inner.next += 1;
            let new = (at_ms, inner.next);
            inner.timers.insert(new, context.waker().clone());
            key = Some(new);
            Poll::Pending
        }))
    }

    pub(crate) fn sleep_ms(&self, ms: i64) -> BoxFuture<'static, ()> {
        self.sleep_until(self.now_ms() + ms)
    }
}

struct Awake {
    clockwork: Clockwork,
    task: u64,
}

impl Wake for Awake {
    fn wake(self: Arc<Self>) {
        self.clockwork.inner().ready.insert(self.task);
    }
}

/// Runs the tasks in virtual time.
pub(crate) struct Executor {
    pub(crate) clockwork: Clockwork,
    chance: ChaCha8Rng,
    tasks: BTreeMap<u64, (Owner, BoxFuture<'static, ()>)>,
    next: u64,
}

impl Executor {
    pub(crate) fn new(chance: ChaCha8Rng) -> Self {
        Self {
            clockwork: Clockwork::default(),
            chance,
            tasks: BTreeMap::new(),
            next: 0,
        }
    }

    /// Drops all tasks of one owner.
    pub(crate) fn kill(&mut self, owner: Owner) {
        let of_owner = |(of, _): &mut (Owner, BoxFuture<'static, ()>)| *of == owner;
        let young: Vec<_> = {
            let mut inner = self.clockwork.inner();
            inner.spawned.extract_if(.., of_owner).collect()
        };
        let old: Vec<_> = self
            .tasks
            .extract_if(.., |_, (of, _)| *of == owner)
            .collect();
        // Dropping a task may wake others, which needs the lock. So the lock is released before.
        drop((young, old));
    }

    /// Runs until nothing is left to do before `at_ms`, or `stop` returns true after a step.
    pub(crate) fn run_until(&mut self, at_ms: i64, mut stop: impl FnMut() -> bool) {
        loop {
            self.adopt();
            if let Some(task) = self.pick() {
                self.poll(task);
                if stop() {
                    return;
                }
                continue;
            }
            let mut inner = self.clockwork.inner();
            let Some((&(next_ms, number), _)) = inner.timers.first_key_value() else {
                inner.now_ms = at_ms;
                return;
            };
            if next_ms > at_ms {
                inner.now_ms = at_ms;
                return;
            }
            inner.now_ms = inner.now_ms.max(next_ms);
            let waker = inner.timers.remove(&(next_ms, number));
            drop(inner);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn adopt(&mut self) {
        let mut inner = self.clockwork.inner();
        for spawned in std::mem::take(&mut inner.spawned) {
            self.next += 1;
            self.tasks.insert(self.next, spawned);
            inner.ready.insert(self.next);
        }
    }

    fn pick(&mut self) -> Option<u64> {
        let mut inner = self.clockwork.inner();
        let tasks = &self.tasks;
        inner.ready.retain(|task| tasks.contains_key(task));
        if inner.ready.is_empty() {
            return None;
        }
        let at = self.chance.gen_range(0..inner.ready.len());
        let task = inner.ready.iter().nth(at).copied()?;
        inner.ready.remove(&task);
        Some(task)
    }

    fn poll(&mut self, task: u64) {
        let Some((_, future)) = self.tasks.get_mut(&task) else {
            return;
        };
        let waker = Waker::from(Arc::new(Awake {
            clockwork: self.clockwork.clone(),
            task,
        }));
        if future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            self.tasks.remove(&task);
        }
    }
}
