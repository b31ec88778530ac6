//! A process that runs a relay: its clocks, its network and its death.

use crate::clockwork::{Clockwork, NATURE, Owner};
use crate::receivers::{Delivery, Manner, Receivers};
use crate::upstream::{Reaction, Upstream};
use bulkhead_relay::{BoxFuture, CallResult, Environment, Point};
use bulkhead_sandbox::{Delivery as Content, Failure, Response};
use bulkhead_store::{BootMillis, Callback, Now, TraceParent, UnixMillis};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Start of the simulation: some time in 2026.
pub(crate) const START_WALL_MS: i64 = 1_790_000_000_000;

/// The probabilities of faults. All faults end when `calm` is set.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    pub(crate) question_lost: f64,
    pub(crate) answer_lost: f64,
    pub(crate) store_slow: f64,
    pub(crate) call_lost: f64,
    pub(crate) reply_lost: f64,
    pub(crate) call_late: f64,
    pub(crate) stall: f64,
}

impl Faults {
    /// No faults.
    pub(crate) const NONE: Self = Self {
        question_lost: 0.0,
        answer_lost: 0.0,
        store_slow: 0.0,
        call_lost: 0.0,
        reply_lost: 0.0,
        call_late: 0.0,
        stall: 0.0,
    };
}

/// State shared by all processes.
pub(crate) struct Shared {
    pub(crate) clockwork: Clockwork,
    pub(crate) upstream: Mutex<Upstream>,
    pub(crate) receivers: Mutex<Receivers>,
    pub(crate) faults: Faults,
    pub(crate) calm: AtomicBool,
    pub(crate) margin_ms: i64,
    /// Numbers of the processes that have reached the point of their death and must be killed.
    pub(crate) doomed: Mutex<Vec<u64>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The delays and losses of one store operation.
pub(crate) struct StoreFate {
    pub(crate) before_ms: i64,
    pub(crate) after_ms: i64,
    pub(crate) question_lost: bool,
    pub(crate) answer_lost: bool,
}

pub(crate) struct Process {
    pub(crate) number: u64,
    shared: Arc<Shared>,
    chance: Mutex<ChaCha8Rng>,
    wall_ahead_ms: AtomicI64,
    /// Virtual time at which the machine started.
    boot_at_ms: i64,
    dead: AtomicBool,
    /// The process dies at this point, after it has passed the point this many times.
    dies_at: Mutex<Option<(Point, u32)>>,
}

impl Process {
    pub(crate) fn new(
        number: u64,
        shared: Arc<Shared>,
        chance: ChaCha8Rng,
        boot_at_ms: i64,
        dies_at: Option<(Point, u32)>,
    ) -> Self {
        Self {
            number,
            shared,
            chance: Mutex::new(chance),
            wall_ahead_ms: AtomicI64::new(0),
            boot_at_ms,
            dead: AtomicBool::new(false),
            dies_at: Mutex::new(dies_at),
        }
    }

    pub(crate) fn owner(&self) -> Owner {
        Owner(self.number)
    }

    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    pub(crate) fn step_wall(&self, ms: i64) {
        self.wall_ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) fn boot_ms(&self) -> i64 {
        self.shared.clockwork.now_ms() - self.boot_at_ms
    }

    fn calm(&self) -> bool {
        self.shared.calm.load(Ordering::Relaxed)
    }

    fn happens(&self, probability: f64) -> bool {
        !self.calm() && lock(&self.chance).gen_bool(probability)
    }

    fn ms(&self, range: std::ops::Range<i64>) -> i64 {
        lock(&self.chance).gen_range(range)
    }

    pub(crate) async fn sleep_ms(&self, ms: i64) {
        if ms > 0 {
            self.shared.clockwork.sleep_ms(ms).await;
        }
    }

    /// Never returns if the process is dead.
    pub(crate) async fn alive(&self) {
        if self.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn store_fate(&self) -> StoreFate {
        let faults = &self.shared.faults;
        let slow = self.happens(faults.store_slow);
        let max_ms = if slow { 4000 } else { 4 };
        let delay = || self.ms(0..max_ms);
        StoreFate {
            before_ms: delay(),
            after_ms: delay(),
            question_lost: self.happens(faults.question_lost),
            answer_lost: self.happens(faults.answer_lost),
        }
    }

    /// Returns the virtual time at which this process's monotonic clock shows `at`.
    fn virtual_ms(&self, at: BootMillis) -> i64 {
        at.0.saturating_add(self.boot_at_ms)
    }
}

/// The environment of a process.
pub(crate) struct Surroundings(pub(crate) Arc<Process>);

impl Environment for Surroundings {
    fn now(&self) -> Now {
        let process = &self.0;
        let now_ms = process.shared.clockwork.now_ms();
        let ahead = process.wall_ahead_ms.load(Ordering::Relaxed);
        Now {
            wall: UnixMillis(START_WALL_MS + now_ms + ahead),
            boot: BootMillis(process.boot_ms()),
        }
    }

    fn random(&self) -> u128 {
        lock(&self.0.chance).r#gen()
    }

    fn sleep_until(&self, at: BootMillis) -> BoxFuture<'static, ()> {
        self.0.shared.clockwork.sleep_until(self.0.virtual_ms(at))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.shared.clockwork.spawn(self.0.owner(), task);
    }

    fn call_upstream(
        &self,
        target: String,
        _trace: Option<TraceParent>,
        until: BootMillis,
    ) -> BoxFuture<'static, CallResult> {
        let (process, until_ms) = (Arc::clone(&self.0), self.0.virtual_ms(until));
        Box::pin(async move {
            process.alive().await;
            let shared = Arc::clone(&process.shared);
            let stalled = process.happens(shared.faults.stall);
            let stall_ms = if stalled {
                process.ms(0..25_000)
            } else {
                process.ms(0..20)
            };
            process.sleep_ms(stall_ms).await;
            process.alive().await;
            let now_ms = shared.clockwork.now_ms();
            if now_ms >= until_ms {
                return CallResult::Unsent("too late".into());
            }
            let (sender, receiver) = oneshot::channel();
            // From here on the network has the call, even if the process dies.
            let way = Arc::clone(&process);
            shared.clockwork.spawn(
                NATURE,
                Box::pin(async move { call(&way, target, until_ms, sender).await }),
            );
            received(receiver, &shared.clockwork, until_ms).await
        })
    }

    fn deliver(
        &self,
        callback: Callback,
        delivery: Content,
        _trace: Option<TraceParent>,
        until: BootMillis,
    ) -> BoxFuture<'static, CallResult> {
        let (process, until_ms) = (Arc::clone(&self.0), self.0.virtual_ms(until));
        Box::pin(async move {
            process.alive().await;
            let shared = Arc::clone(&process.shared);
            let (sender, receiver) = oneshot::channel();
            let way = Arc::clone(&process);
            shared.clockwork.spawn(
                NATURE,
                Box::pin(async move { deliver(&way, callback, delivery, until_ms, sender).await }),
            );
            received(receiver, &shared.clockwork, until_ms).await
        })
    }

    fn reached(&self, point: Point) {
        let process = &self.0;
        let mut dies_at = lock(&process.dies_at);
        if let Some((at, left)) = dies_at.as_mut()
            && *at == point
        {
            if *left == 0 {
                process.die();
                lock(&process.shared.doomed).push(process.number);
            }
            *left = left.saturating_sub(1);
        }
    }
}

async fn received(
    receiver: oneshot::Receiver<CallResult>,
    clockwork: &Clockwork,
    until_ms: i64,
) -> CallResult {
    let result = async {
        match receiver.await {
            Ok(result) => result,
            // The response is lost.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        result = result => result,
        () = clockwork.sleep_until(until_ms) => CallResult::Lost(Failure::TimedOut),
    }
}

/// Transports a call to the upstream, and its response back.
async fn call(
    process: &Process,
    target: String,
    until_ms: i64,
    sender: oneshot::Sender<CallResult>,
) {
    let shared = &process.shared;
    let faults = &shared.faults;
    if process.happens(faults.call_lost) {
        return;
    }
    let now_ms = shared.clockwork.now_ms();
    let usual = now_ms + process.ms(1..200);
    let late = process.happens(faults.call_late);
    // The network may delay a call without a response for the margin.
    let latest_ms = until_ms + shared.margin_ms / 2;
    let arrives = if late {
        process.ms(now_ms..latest_ms)
    } else {
        usual
    };
    let mut sender = Some(sender);
    if late && process.happens(0.5) {
        // A proxy cuts the caller's connection, but passes the call on.
        let cut = CallResult::Lost(Failure::CutOff);
        let _gone = sender.take().map(|sender| sender.send(cut));
    }
    shared.clockwork.sleep_until(arrives.min(latest_ms)).await;
    let now_ms = shared.clockwork.now_ms();
    let reaction = lock(&shared.upstream).arrive(now_ms, &target);
    let result = match reaction {
        Reaction::Silence => return,
        Reaction::Reset => CallResult::Lost(Failure::CutOff),
        Reaction::Response {
            status,
            retry_after,
            body,
            after_ms,
        } => {
            process.sleep_ms(after_ms).await;
            CallResult::Response(Response {
                status,
                retry_after,
                body,
            })
        }
    };
    if process.happens(faults.reply_lost) {
        return;
    }
    process.sleep_ms(process.ms(1..100)).await;
    let _gone = sender.map(|sender| sender.send(result));
}

/// Transports a delivery to its receiver, and the response back.
async fn deliver(
    process: &Process,
    callback: Callback,
    delivery: Content,
    until_ms: i64,
    sender: oneshot::Sender<CallResult>,
) {
    let shared = &process.shared;
    process.sleep_ms(process.ms(1..100)).await;
    let manner = lock(&shared.receivers).manner(&callback.host);
    let (status, after_ms) = match manner {
        Manner::Down => {
            let _gone = sender.send(CallResult::Unsent("connection refused".into()));
            return;
        }
        Manner::Takes => (204, process.ms(1..300)),
        Manner::Slow => (200, process.ms(1..30_000)),
        Manner::Fails => (500, 5),
        Manner::Redirects => (302, 5),
        Manner::Gone => (410, 5),
    };
    let id = delivery
        .headers
        .iter()
        .find(|(name, _)| name == "webhook-id");
    let delivery_at = {
        let mut receivers = lock(&shared.receivers);
        receivers.deliveries.push(Delivery {
            at_ms: shared.clockwork.now_ms(),
            url: callback.url,
            id: id.map(|(_, id)| id.clone()).unwrap_or_default(),
            body: String::from_utf8(delivery.body).unwrap_or_default(),
            status,
            by: process.number,
            response_arrived: false,
        });
        receivers.deliveries.len() - 1
    };
    process.sleep_ms(after_ms).await;
    if process.happens(shared.faults.reply_lost) {
        return;
    }
    process.sleep_ms(process.ms(1..50)).await;
    let in_time = shared.clockwork.now_ms() < until_ms;
    let response = CallResult::Response(Response {
        status,
        retry_after: None,
        body: Vec::new(),
    });
    let response_arrived = sender.send(response).is_ok();
    lock(&shared.receivers).deliveries[delivery_at].response_arrived = response_arrived && in_time;
}
