//! The threads that guests run on: as many as there is work for the processor to do at once, with
//! a bounded queue in front. I/O threads hand work over and wait without blocking.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

type Job = Box<dyn FnOnce(&CpuPermit) + Send>;

/// A fixed set of threads and their queue. Dropping it lets the threads end after what is queued.
///
/// A pool has more threads than permits if its jobs wait for something else in between: only a job that has a
/// permit computes.
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Signalled if a permit is free for a job that resumes.
    back: Condvar,
    queue_max: usize,
}

struct State {
    /// What waits, and since when.
    queue: VecDeque<(Instant, Job)>,
    free_permits: usize,
    /// Jobs that wait to get their permit back. They go before jobs that have not begun.
    resuming: usize,
    /// Threads without a job. The last one that had one is the first to get the next: its memory is
    /// still in the caches.
    idle: Vec<Thread>,
    closed: bool,
}

/// What waits in a queue, for whoever watches it.
#[derive(Clone)]
pub struct Waiting(Arc<Shared>);

impl Waiting {
    /// How many jobs wait.
    pub fn depth(&self) -> usize {
        self.0.lock().queue.len()
    }

    /// For how long the oldest of them has; nothing where none waits.
    pub fn oldest(&self) -> Duration {
        let oldest = self.0.lock().queue.front().map(|(since, _)| *since);
        oldest.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Waiting").field(&self.depth()).finish()
    }
}

/// The job was not queued, because the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub struct QueueFull;

impl Pool {
    /// Starts `threads` threads, of which `permits` compute at the same time, with room for `queue`
    /// jobs that wait.
    ///
    /// # Errors
    /// If the system does not start a thread.
    pub fn new(name: &str, threads: usize, permits: usize, queue: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                free_permits: permits,
                resuming: 0,
                idle: Vec::new(),
                closed: false,
            }),
            back: Condvar::new(),
            queue_max: queue,
        });
        let pool = Self { shared };
        for number in 0..threads {
            let permit = CpuPermit(Arc::clone(&pool.shared));
            std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || work(&permit))?;
        }
        Ok(pool)
    }

    /// Queues a job.
    ///
    /// # Errors
    /// If the queue is full. The job is dropped then.
    pub fn submit(&self, job: impl FnOnce(&CpuPermit) + Send + 'static) -> Result<(), QueueFull> {
        let mut state = self.shared.lock();
        if state.queue.len() >= self.shared.queue_max {
            return Err(QueueFull);
        }
        state.queue.push_back((Instant::now(), Box::new(job)));
        state.wake_one();
        Ok(())
    }

    /// What waits.
    pub fn waiting(&self) -> Waiting {
        Waiting(Arc::clone(&self.shared))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.idle.drain(..).for_each(|thread| thread.unpark());
    }
}

/// The right to compute, which every job holds.
#[derive(Clone)]
pub struct CpuPermit(Arc<Shared>);

impl CpuPermit {
    /// Releases the permit to other jobs while `wait` waits for something, and takes it back afterwards, before jobs
    /// that have not begun.
    pub fn release_while<R>(&self, wait: impl FnOnce() -> R) -> R {
        /// Takes the permit back even if `wait` panics. Otherwise there would be one permit too many.
        struct Back<'a>(&'a Shared);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.reacquire();
            }
        }
        self.0.release(&mut self.0.lock());
        let _back = Back(&self.0);
        wait()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, state: &mut State) {
        state.free_permits += 1;
        if state.resuming > 0 {
            self.back.notify_one();
        } else {
            state.wake_one();
        }
    }

    fn reacquire(&self) {
        let mut state = self.lock();
        state.resuming += 1;
        while state.free_permits == 0 {
            state = self
                .back
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.resuming -= 1;
        state.free_permits -= 1;
        // Whoever was woken for a job may have stepped back for us.
        state.wake_one();
    }

    /// Waits for a job and a permit for it. Returns nothing once the pool is closed and its queue is empty.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.free_permits > 0
                && state.resuming == 0
                && let Some((_, job)) = state.queue.pop_front()
            {
                state.free_permits -= 1;
                // Who came back or ended meanwhile may have woken nobody.
                state.wake_one();
                return Some(job);
            }
            if state.closed && state.queue.is_empty() {
                state.idle.drain(..).for_each(|thread| thread.unpark());
                return None;
            }
            let this = std::thread::current();
            let id = this.id();
            state.idle.push(this);
            drop(state);
            std::thread::park();
            state = self.lock();
            // Where nobody woke it up, it is still there.
            state.idle.retain(|thread| thread.id() != id);
        }
    }
}

impl State {
    /// Wakes up a thread if there is a job and a permit for it.
    fn wake_one(&mut self) {
        if self.free_permits > 0
            && !self.queue.is_empty()
            && let Some(thread) = self.idle.pop()
        {
            thread.unpark();
        }
    }
}

/// How much lower the priority of these threads is (nice(2), for a thread alone on Linux). They
/// compute for as long as they get, and an I/O thread that wakes up must not wait for their time
/// slice to end.
const NICER: i32 = 10;

fn work(permit: &CpuPermit) {
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::debug!(%error, "a worker keeps its priority");
    }
    while let Some(job) = permit.0.next() {
        // A panic is a bug of ours, but it must not take a thread out of service. Whoever waits
        // for the job sees its end of the channel closed.
        let job = std::panic::AssertUnwindSafe(|| job(permit));
        if std::panic::catch_unwind(job).is_err() {
            tracing::error!("a job panicked");
        }
        permit.0.release(&mut permit.0.lock());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn what_waits_is_counted_and_aged_until_it_is_taken() {
        let pool = Pool::new("test", 1, 1, 2).expect("a thread");
        let waiting = pool.waiting();
        let (taken, was_taken) = channel();
        let (go_on, told) = channel::<()>();
        let told = Arc::new(Mutex::new(told));
        let job = || {
            let (taken, told) = (taken.clone(), Arc::clone(&told));
            move |_: &CpuPermit| {
                taken.send(()).expect("listened to");
                told.lock().expect("no panic").recv().expect("told");
            }
        };
        pool.submit(job()).expect("room");
        was_taken.recv().expect("taken");
        assert_eq!((waiting.depth(), waiting.oldest()), (0, Duration::ZERO));
        pool.submit(job()).expect("room");
        let first = Instant::now();
        pool.submit(job()).expect("room");
        assert_eq!(pool.submit(job()), Err(QueueFull));
        assert_eq!(waiting.depth(), 2);
        let age = first.elapsed();
        assert!(waiting.oldest() >= age);
        for left in [1, 0] {
            go_on.send(()).expect("listened to");
            was_taken.recv().expect("taken");
            assert_eq!(waiting.depth(), left);
        }
        go_on.send(()).expect("listened to");
    }

    #[test]
    fn a_panic_takes_no_thread_out_of_service() {
        let pool = Pool::new("test", 1, 1, 2).expect("a thread");
        pool.submit(|_| panic!("as a test")).expect("room");
        let (done, was_done) = channel();
        pool.submit(move |_| done.send(()).expect("listened to"))
            .expect("room");
        was_done.recv().expect("the thread goes on");
    }

    /// With one permit and two threads, a job that waits lets another one compute, and gets its permit back
    /// before any job that has not begun.
    #[test]
    fn blocked_job_releases_its_permit_and_resumes_first() {
        let pool = Pool::new("test", 2, 1, 4).expect("two threads");
        let (order, in_order) = channel();
        let (go_on, told) = channel::<()>();
        let (back, wants_back) = channel::<()>();
        let first = order.clone();
        pool.submit(move |permit| {
            first.send("first begins").expect("listened to");
            permit.release_while(|| {
                told.recv().expect("told");
                back.send(()).expect("listened to");
            });
            first.send("first goes on").expect("listened to");
        })
        .expect("room");
        assert_eq!(in_order.recv(), Ok("first begins"));
        let second = order.clone();
        let shared = Arc::clone(&pool.shared);
        pool.submit(move |_| {
            go_on.send(()).expect("listened to");
            wants_back.recv().expect("told");
            while shared.lock().resuming == 0 {
                std::thread::yield_now();
            }
            second.send("second ends").expect("listened to");
        })
        .expect("room");
        pool.submit(move |_| order.send("third").expect("listened to"))
            .expect("room");
        let all: Vec<_> = in_order.iter().collect();
        assert_eq!(all, ["second ends", "first goes on", "third"]);
        // The last job releases its permit after it has sent.
        while pool.shared.lock().free_permits != 1 {
            std::thread::yield_now();
        }
    }
}
