//! The threads that derive keys, and how they are asked.

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

/// A derivation of so many octets is done where it is asked for: handing it over would take longer.
const SHORT_OCTETS: u64 = 256 * 1024;

/// How much lower the priority of these threads is (nice(2), for a thread alone on Linux). They
/// compute for as long as they get; guests, which bring them work, go first.
const NICER: i32 = 15;

/// How an engine is set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Threads that hash.
    pub threads: usize,
    /// The only way to hash, where it is not for the cost model to choose. It must be available.
    pub path: Option<Path>,
    /// Octets of all derivations that wait or run. One that is alone may have more. Those of slow hashes
    /// count for several.
    pub octets_max: u64,
}

/// Why a key was not derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// The caller cancelled the derivation, it took too long by itself, or its thread panicked.
    #[error("the key derivation was cancelled, or took too long")]
    Cancelled,
    /// Too many bytes are pending. The same call may succeed after [`Engine::clears_in`].
    #[error("too much key derivation is pending")]
    QueueFull,
    /// The deadline passed, and for most of the time the derivation waited for others.
    #[error("the deadline passed while the key derivation waited for others")]
    Late,
}

/// Derives keys for many callers side by side. The threads end when it is dropped; what still waits
/// then is given up.
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
    /// Octets that wait or run, each with its weight.
    work: u64,
    pace: Pace,
    idle: usize,
    closed: bool,
}

/// What a pass, by its number, came to.
type Digest = (usize, Zeroizing<Vec<u8>>);

/// Who waits for a pass.
struct Owner {
    number: usize,
    cancellation: Cancellation,
    done: Sender<Result<Digest, DeriveError>>,
    came: Instant,
    /// Whether this pass had a turn.
    begun: bool,
    /// Nanoseconds that passes of this derivation were hashed, all together.
    hashed_ns: Arc<AtomicU64>,
}

/// How fast threads hash of late, and how much a derivation takes, in weighted octets.
struct Pace {
    octets: f64,
    seconds: f64,
    usual_octets: f64,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system does not start a thread.
    pub fn new(setup: Setup, metrics: KdfMetrics) -> std::io::Result<Self> {
        let processor = Processor::this();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Queue::new(),
                work: 0,
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
        engine
            .shared
            .metrics
            .limits(setup.threads, setup.octets_max);
        for number in 0..setup.threads {
            let shared = Arc::clone(&engine.shared);
            std::thread::Builder::new()
                .name(format!("kdf-{number}"))
                .spawn(move || shared.work())?;
        }
        Ok(engine)
    }

    /// Whether [`Self::derive`] would do this on the calling thread, without waiting for anybody.
    pub fn is_short(s2k: &S2k<'_>) -> bool {
        s2k.bytes_hashed() <= SHORT_OCTETS
    }

    /// Derives a key. The calling thread waits until the key is derived or given up. It computes a short derivation
    /// ([`Self::is_short`]) by itself.
    ///
    /// # Errors
    /// If the derivation is cancelled or its deadline passes, or if too many bytes are pending.
    pub fn derive(
        &self,
        s2k: &S2k<'_>,
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
        let octets = s2k.bytes_per_pass();
        // Made before anybody else has to wait for it.
        let passes = Pass::all(s2k);
        let weights = passes
            .iter()
            .map(|pass| octets.saturating_mul(pass.weight()));
        let work = weights.fold(0, u64::saturating_add);
        let hashed_ns = Arc::new(AtomicU64::new(0));
        let now = Instant::now();
        let mut state = self.shared.lock();
        if state.closed {
            return Err(DeriveError::Cancelled);
        }
        let all = state.work.saturating_add(work);
        if state.work > 0 && all > self.shared.setup.octets_max {
            return Err(DeriveError::QueueFull);
        }
        state.work = all;
        state.pace.derivation(work);
        for (number, pass) in passes.into_iter().enumerate() {
            let owner = Owner {
                number,
                cancellation: cancellation.clone(),
                done: done.clone(),
                came: now,
                begun: false,
                hashed_ns: Arc::clone(&hashed_ns),
            };
            state.queue.add(pass, octets, owner);
            self.shared.work.notify_one();
        }
        self.shared.show(&state);
        drop((state, done));
        let mut by_number = vec![Zeroizing::default(); s2k.passes()];
        for _ in 0..s2k.passes() {
            // Closed without a word where a thread panicked.
            let (number, digest) = digests.recv().unwrap_or(Err(DeriveError::Cancelled))?;
            by_number[number] = digest;
        }
        let mut key = Zeroizing::new(Vec::with_capacity(bulkhead_crypto::KEY_LEN_MAX));
        for digest in by_number {
            s2k.append(&mut key, &digest);
        }
        Ok(key)
    }

    /// How long it takes until what waits is done, and `more` derivations of the usual size beside
    /// it, at the pace of late.
    pub fn clears_in(&self, more: usize) -> Duration {
        let state = self.shared.lock();
        let more = state.pace.usually(more);
        let work = state.work.saturating_add(more);
        state.pace.time(work, self.shared.setup.threads)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        let given_up = state.queue.remove(|_| true);
        self.shared.work.notify_all();
        drop(state);
        drop(given_up);
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "these are estimates, of what is positive"
)]
impl Pace {
    /// Before anything was hashed: 1 GB/s, as one stream with SHA-NI, and what GnuPG takes today.
    fn assumed() -> Self {
        Self {
            octets: 1e6,
            seconds: 1e-3,
            usual_octets: 2.0 * 65_011_712.0,
        }
    }

    /// Older turns count less and less: half after some seventy.
    fn turn(&mut self, octets: u64, time: Duration) {
        const KEPT: f64 = 0.99;
        self.octets = self.octets * KEPT + octets as f64;
        self.seconds = self.seconds * KEPT + time.as_secs_f64();
    }

    /// Older ones count less and less: half after some seven.
    fn derivation(&mut self, octets: u64) {
        const KEPT: f64 = 0.9;
        self.usual_octets = self.usual_octets * KEPT + octets as f64 * (1.0 - KEPT);
    }

    /// Octets of so many derivations.
    fn usually(&self, derivations: usize) -> u64 {
        (derivations as f64 * self.usual_octets) as u64
    }

    fn time(&self, octets: u64, threads: usize) -> Duration {
        let seconds = octets as f64 * self.seconds / self.octets / threads as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each thread does.
    fn work(&self) {
        if let Err(error) = rustix::process::nice(NICER) {
            tracing::debug!(%error, "a thread for key derivation keeps its priority");
        }
        let mut threads_own = Hashing::new(self.processor, self.setup.path);
        while let Some(turn) = self.next_turn(&mut threads_own) {
            let Turn { path, mut streams } = turn;
            let taken = streams.len();
            let due: u64 = streams.iter().map(Stream::work_left).sum();
            let octets: u64 = streams.iter().map(|stream| stream.octets_left).sum();
            let start = Instant::now();
            // A panic is a bug of ours. It costs those their keys who were in the turn, and the
            // thread goes on with tables that nobody has touched.
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                threads_own.run(path, &mut streams);
            }));
            if ran.is_err() {
                tracing::error!("a turn of key derivation panicked");
                threads_own = Hashing::new(self.processor, self.setup.path);
                streams.clear();
            }
            let time = start.elapsed();
            for stream in &streams {
                stream.owner.was_hashed(time);
            }
            let (over, going_on): (Vec<_>, Vec<_>) = streams
                .into_iter()
                .partition(|stream| stream.pass.is_over());
            // With the first and the last blocks of those that are over.
            let octets = octets - going_on.iter().map(|s| s.octets_left).sum::<u64>();
            let done = due - going_on.iter().map(Stream::work_left).sum::<u64>();
            if ran.is_ok() {
                self.metrics.turn(path, taken, octets, time);
            }
            {
                let mut state = self.lock();
                state.work -= done;
                state.pace.turn(done, time);
                state.queue.put_back(taken, going_on, done);
            }
            for Stream { pass, owner, .. } in over {
                let _gone = owner.done.send(Ok((owner.number, pass.finish())));
            }
        }
    }

    /// Waits for work; nothing where there will be none any more.
    fn next_turn(&self, threads_own: &mut Hashing) -> Option<Turn<Owner>> {
        let mut clean = false;
        loop {
            let mut state = self.lock();
            if state.closed {
                // Also what was put back meanwhile: whoever waits for it is told.
                let given_up = state.queue.remove(|_| true);
                drop(state);
                drop(given_up);
                return None;
            }
            let now = Instant::now();
            let given_up = state
                .queue
                .remove(|stream| stream.owner.cancellation.is_over(now));
            state.work -= given_up.iter().map(Stream::work_left).sum::<u64>();
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
            // Fewer may have been taken than were put back: somebody else finds work, too.
            if state.idle > 0 && state.queue.waiting() > 0 {
                self.work.notify_one();
            }
            // Sending and wiping take time, and others want the lock.
            drop(state);
            for stream in given_up {
                let why = stream.owner.given_up(now);
                let _gone = stream.owner.done.send(Err(why));
            }
            if let Some(mut turn) = turn {
                for stream in &mut turn.streams {
                    let owner = &mut stream.owner;
                    if !std::mem::replace(&mut owner.begun, true) {
                        let waited = now.saturating_duration_since(owner.came);
                        self.metrics.waited(waited);
                    }
                }
                return Some(turn);
            }
            // Nothing of anybody is kept while there is nothing to do.
            threads_own.wipe();
            clean = true;
        }
    }

    fn show(&self, state: &State) {
        self.metrics.pending(state.work);
        let queue = &state.queue;
        self.metrics.streams(queue.waiting(), queue.running());
    }
}

impl Owner {
    fn was_hashed(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.hashed_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Why there is no key: because others were in the way, or for its own sake. To wait for another
    /// pass of one's own is not to wait for others.
    fn given_up(&self, now: Instant) -> DeriveError {
        let hashed = Duration::from_nanos(self.hashed_ns.load(Ordering::Relaxed));
        let is_cancelled = self.cancellation.flag.is_cancelled();
        if !is_cancelled && hashed < now.saturating_duration_since(self.came) / 2 {
            DeriveError::Late
        } else {
            DeriveError::Cancelled
        }
    }
}

#[cfg(test)]
mod tests;
