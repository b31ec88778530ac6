//! The threads that derive keys, and the interface for callers.

use crate::caller::CallerId;
use crate::cancel::Cancellation;
use crate::cost::Model;
use crate::hashing::Hashing;
use crate::kernel::Processor;
use crate::metrics::KdfMetrics;
use crate::path::Path;
use crate::queue::{Pass, Queue, Stream, Turn};
use bulkhead_crypto::S2k;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Maximum number of bytes of a derivation that the calling thread computes, because a handover would take
/// longer.
const SHORT_BYTES: u64 = 256 * 1024;

/// Increment of the threads' nice value (nice(2), which applies to single threads on Linux). The threads
/// compute without pause. Guests, which create the work, take precedence.
const NICER: i32 = 15;

/// The configuration of an [`Engine`].
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Number of threads that hash, at least 1. Without threads, longer derivations would never end.
    pub threads: usize,
    /// The only path to use, which must be available ([`Path::is_available`]). With `None`, the cost model
    /// chooses the path for each turn. Hashes that the path does not support use [`Path::Plain`].
    pub path: Option<Path>,
    /// Maximum number of bytes to hash for all waiting and running derivations. The bytes of slow hashes
    /// count up to 12 times. A derivation is accepted if no other is pending, whatever its size. It is also
    /// accepted while its caller stays within an equal share of the maximum, and all callers within twice the
    /// maximum.
    pub bytes_max: u64,
}

/// The key was not derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// The caller cancelled the derivation, its own hashing took until the deadline, the engine was
    /// dropped, or a thread panicked.
    #[error("the key derivation was cancelled or took too long")]
    Cancelled,
    /// The maximum number of bytes is pending. The call may succeed after [`Engine::clears_in`].
    #[error("too much key derivation is pending; try again later")]
    QueueFull,
    /// The deadline passed, and the derivation spent most of the time waiting for others.
    #[error("the deadline passed while the key derivation waited for others; try again later")]
    Late,
}

/// Derives keys for many callers side by side, on its own threads.
///
/// Dropping the engine ends the threads. Derivations that are still pending return
/// [`DeriveError::Cancelled`].
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    model: Model,
    processor: Processor,
    setup: Setup,
    metrics: KdfMetrics,
}

struct State {
    queue: Queue<Owner>,
    pace: Pace,
    idle: usize,
    closed: bool,
}

/// The number of a pass, and its digest.
type Digest = (usize, Zeroizing<Vec<u8>>);

/// The caller of a pass.
struct Owner {
    number: usize,
    cancellation: Cancellation,
    done: Sender<Result<Digest, DeriveError>>,
    /// Time of the call.
    called_at: Instant,
    /// Whether this pass has had a turn.
    has_begun: bool,
    /// Nanoseconds of hashing, summed over all passes of this derivation.
    hashed_ns: Arc<AtomicU64>,
}

/// Moving averages of the hashing rate of a thread and of the size of a derivation, in weighted bytes.
struct Pace {
    bytes: f64,
    seconds: f64,
    usual_bytes: f64,
}

impl Engine {
    /// Creates an engine and starts its threads.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn new(setup: Setup, metrics: KdfMetrics) -> std::io::Result<Self> {
        let processor = Processor::this();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Queue::new(),
                pace: Pace::assumed(),
                idle: 0,
                closed: false,
            }),
            work: Condvar::new(),
            model: Model::new(processor, setup.path),
            processor,
            setup,
            metrics,
        });
        let engine = Self { shared };
        engine.shared.metrics.limits(setup.threads, setup.bytes_max);
        for number in 0..setup.threads {
            let shared = Arc::clone(&engine.shared);
            std::thread::Builder::new()
                .name(format!("kdf-{number}"))
                .spawn(move || shared.work())?;
        }
        Ok(engine)
    }

    /// Returns whether [`Self::derive`] computes this derivation on the calling thread, without waiting for
    /// others: up to 256 KiB of bytes to hash.
    pub fn is_short(s2k: &S2k<'_>) -> bool {
        s2k.bytes_hashed() <= SHORT_BYTES
    }

    /// Derives a key. Blocks the calling thread until the key is derived or the derivation ends early. The
    /// calling thread computes a short derivation ([`Self::is_short`]) itself. The key equals that of
    /// [`S2k::derive`] (RFC 9580 section 3.7.1), and is wiped when it is dropped.
    ///
    /// Several threads may call at the same time. Callers have equal shares of the engine's threads. The order
    /// is fair by bytes, not by arrival.
    ///
    /// # Errors
    /// - [`DeriveError::Cancelled`] if the derivation is cancelled, or its hashing takes until the deadline.
    /// - [`DeriveError::QueueFull`] if too many bytes are pending.
    /// - [`DeriveError::Late`] if the deadline passes while the derivation waits for others.
    pub fn derive(
        &self,
        s2k: &S2k<'_>,
        caller: CallerId,
        cancellation: &Cancellation,
    ) -> Result<Zeroizing<Vec<u8>>, DeriveError> {
        if Self::is_short(s2k) {
            let key = s2k
                .derive(&mut || !cancellation.is_over(Instant::now()))
                .map_err(|_| DeriveError::Cancelled)?;
            self.shared.metrics.hashed(Path::Plain, s2k.bytes_hashed());
            return Ok(key);
        }
        let (done, digests) = channel();
        let bytes = s2k.bytes_per_pass();
        // The passes are created before the lock is taken, so that no other caller waits for this.
        let passes = Pass::all(s2k);
        let weights = passes
            .iter()
            .map(|pass| bytes.saturating_mul(pass.weight()));
        let work = weights.fold(0, u64::saturating_add);
        let hashed_ns = Arc::new(AtomicU64::new(0));
        let now = Instant::now();
        let mut state = self.shared.lock();
        if state.closed {
            return Err(DeriveError::Cancelled);
        }
        if !state.accepts(work, caller, self.shared.setup.bytes_max) {
            return Err(DeriveError::QueueFull);
        }
        state.pace.derivation(work);
        for (number, pass) in passes.into_iter().enumerate() {
            let owner = Owner {
                number,
                cancellation: cancellation.clone(),
                done: done.clone(),
                called_at: now,
                has_begun: false,
                hashed_ns: Arc::clone(&hashed_ns),
            };
            state.queue.add(pass, bytes, caller, owner);
            self.shared.work.notify_one();
        }
        self.shared.show(&state);
        drop((state, done));
        let mut by_number = vec![Zeroizing::default(); s2k.passes()];
        for _ in 0..s2k.passes() {
            // The channel closes without a digest if a thread panicked.
            let (number, digest) = digests.recv().unwrap_or(Err(DeriveError::Cancelled))?;
            by_number[number] = digest;
        }
        let mut key = Zeroizing::new(Vec::with_capacity(bulkhead_crypto::KEY_LEN_MAX));
        for digest in by_number {
            s2k.append(&mut key, &digest);
        }
        Ok(key)
    }

    /// Estimates the time until the pending derivations and `more` derivations of the usual size are
    /// computed, at the recent pace. It is an estimate, not a limit.
    pub fn clears_in(&self, more: usize) -> Duration {
        let state = self.shared.lock();
        let more = state.pace.usually(more);
        let work = state.queue.work().saturating_add(more);
        state.pace.time(work, self.shared.setup.threads)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        let removed = state.queue.remove(|_| true);
        self.shared.work.notify_all();
        drop(state);
        drop(removed);
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "these are estimates of positive values"
)]
impl Pace {
    /// Returns the initial estimates: 1 GB/s, the rate of one stream with SHA-NI, and the usual size of
    /// GnuPG's derivations.
    fn assumed() -> Self {
        Self {
            bytes: 1e6,
            seconds: 1e-3,
            usual_bytes: 2.0 * 65_011_712.0,
        }
    }

    /// Records a turn. The weight of a turn halves after about 70 more turns.
    fn turn(&mut self, bytes: u64, time: Duration) {
        const KEPT: f64 = 0.99;
        self.bytes = self.bytes * KEPT + bytes as f64;
        self.seconds = self.seconds * KEPT + time.as_secs_f64();
    }

    /// Records the size of a derivation. Its weight halves after about 7 more derivations.
    fn derivation(&mut self, bytes: u64) {
        const KEPT: f64 = 0.9;
        self.usual_bytes = self.usual_bytes * KEPT + bytes as f64 * (1.0 - KEPT);
    }

    /// Estimates the number of bytes of this many derivations.
    fn usually(&self, derivations: usize) -> u64 {
        (derivations as f64 * self.usual_bytes) as u64
    }

    fn time(&self, bytes: u64, threads: usize) -> Duration {
        let seconds = bytes as f64 * self.seconds / self.bytes / threads as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop of each thread.
    fn work(&self) {
        if let Err(error) = rustix::process::nice(NICER) {
            tracing::debug!(%error, "cannot lower the priority of a key-derivation thread");
        }
        let mut hashing = Hashing::new(self.processor, self.setup.path);
        while let Some(turn) = self.next_turn(&mut hashing) {
            let taken = turn.taken();
            let Turn { path, mut streams } = turn;
            let count = streams.len();
            let left: u64 = streams.iter().map(|stream| stream.bytes_left).sum();
            let start = Instant::now();
            // A panic is a bug in this crate. The derivations of this turn fail, and the thread continues
            // with new tables.
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                hashing.run(path, &mut streams);
            }));
            if ran.is_err() {
                tracing::error!("key derivation panicked");
                hashing = Hashing::new(self.processor, self.setup.path);
                streams.clear();
            }
            let time = start.elapsed();
            for stream in &streams {
                stream.owner.was_hashed(time);
            }
            let (over, going_on): (Vec<_>, Vec<_>) = streams
                .into_iter()
                .partition(|stream| stream.pass.is_over());
            // This includes the first and last blocks of the streams that are over.
            let bytes = left - going_on.iter().map(|s| s.bytes_left).sum::<u64>();
            if ran.is_ok() {
                self.metrics.turn(path, count, bytes, time);
            }
            {
                let mut state = self.lock();
                let done = state.queue.put_back(&taken, going_on);
                state.pace.turn(done, time);
            }
            for Stream { pass, owner, .. } in over {
                let _gone = owner.done.send(Ok((owner.number, pass.finish())));
            }
        }
    }

    /// Waits for work. Returns `None` when the engine is closed.
    fn next_turn(&self, hashing: &mut Hashing) -> Option<Turn<Owner>> {
        let mut clean = false;
        loop {
            let mut state = self.lock();
            if state.closed {
                // Other threads may have put streams back meanwhile. Dropping these ends their callers' wait.
                let removed = state.queue.remove(|_| true);
                drop(state);
                drop(removed);
                return None;
            }
            let now = Instant::now();
            let given_up = state
                .queue
                .remove(|stream| stream.owner.cancellation.is_over(now));
            let idle = state.idle + 1;
            let turn = state.queue.take(&self.model, idle);
            self.show(&state);
            if turn.is_none() && given_up.is_empty() && clean {
                state.idle += 1;
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            }
            // The turn may have fewer streams than were put back, so that another thread finds work too.
            if state.idle > 0 && state.queue.waiting() > 0 {
                self.work.notify_one();
            }
            // Sending and wiping take time, so the lock is released before.
            drop(state);
            for stream in given_up {
                let why = stream.owner.given_up(now);
                let _gone = stream.owner.done.send(Err(why));
            }
            if let Some(mut turn) = turn {
                for stream in &mut turn.streams {
                    let owner = &mut stream.owner;
                    if !std::mem::replace(&mut owner.has_begun, true) {
                        let waited = now.saturating_duration_since(owner.called_at);
                        self.metrics.waited(waited);
                    }
                }
                return Some(turn);
            }
            // No key material is kept while there is no work.
            hashing.wipe();
            clean = true;
        }
    }

    fn show(&self, state: &State) {
        let queue = &state.queue;
        self.metrics.pending(queue.work());
        self.metrics.streams(queue.waiting(), queue.running());
    }
}

impl State {
    /// Returns whether a derivation of a caller is accepted. [`Setup::bytes_max`] describes the rule.
    fn accepts(&self, work: u64, caller: CallerId, bytes_max: u64) -> bool {
        let all = self.queue.work();
        let (own, callers) = self.queue.share(caller);
        let share = bytes_max / callers as u64;
        let sum = all.saturating_add(work);
        let has_share = own.saturating_add(work) <= share && sum <= bytes_max.saturating_mul(2);
        all == 0 || sum <= bytes_max || has_share
    }
}

impl Owner {
    fn was_hashed(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.hashed_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Returns the error for a derivation that ended early: whether it waited for others or was too slow
    /// itself. Waiting for other passes of the same derivation does not count as waiting for others.
    fn given_up(&self, now: Instant) -> DeriveError {
        let hashed = Duration::from_nanos(self.hashed_ns.load(Ordering::Relaxed));
        let is_cancelled = self.cancellation.flag.is_cancelled();
        if !is_cancelled && hashed < now.saturating_duration_since(self.called_at) / 2 {
            DeriveError::Late
        } else {
            DeriveError::Cancelled
        }
    }
}

#[cfg(test)]
mod tests;
