//! The threads that guests run on, with a bounded queue. I/O threads submit jobs and wait for them without
//! blocking.

mod fair_queue;

use bulkhead_kdf::CallerId;
use fair_queue::FairQueue;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

type Job = Box<dyn FnOnce(&CpuPermit) + Send>;

/// A fixed set of threads and their queue. If the pool is dropped, the threads end after the queued jobs.
///
/// Only a job that has a permit computes. A pool needs more threads than permits if its jobs release their
/// permits while they wait. Then a caller with many jobs leaves threads to others, so that the first job of another
/// caller begins at once ([`State::threads_max`]).
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Notified if a permit is free for a job that resumes.
    permit_free: Condvar,
}

struct State {
    queue: FairQueue<Job>,
    free_permits: usize,
    /// The number of jobs that wait to get their permit back. They take precedence over jobs that have not
    /// begun.
    resuming: usize,
    /// The number of jobs of each caller that have begun and have not ended.
    running: BTreeMap<CallerId, usize>,
    threads: usize,
    permits: usize,
    /// Threads without a job. The thread that was busy last gets the next job, because its memory is still
    /// in the caches.
    idle: Vec<Thread>,
    closed: bool,
}

/// A view of the waiting jobs of a queue, for metrics.
#[derive(Clone)]
pub struct Waiting(Arc<Shared>);

impl Waiting {
    /// Returns the number of waiting jobs.
    pub fn depth(&self) -> usize {
        self.0.lock().queue.len()
    }

    /// Returns how long the oldest waiting job has waited, or zero if no job waits.
    pub fn oldest(&self) -> Duration {
        let oldest = self.0.lock().queue.oldest();
        oldest.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Waiting").field(&self.depth()).finish()
    }
}

/// The job was not queued, because the queue is full and no other caller has at least two jobs more in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub struct QueueFull;

impl Pool {
    /// Starts `threads` threads, of which `permits` compute at the same time. Up to `queue` jobs wait.
    ///
    /// # Errors
    /// [`std::io::Error`] if the system does not start a thread.
    pub fn new(name: &str, threads: usize, permits: usize, queue: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: FairQueue::new(queue),
                free_permits: permits,
                resuming: 0,
                running: BTreeMap::new(),
                threads,
                permits,
                idle: Vec::new(),
                closed: false,
            }),
            permit_free: Condvar::new(),
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

    /// Queues a job of a caller. Callers with waiting jobs take turns.
    ///
    /// If the queue is full and another caller has at least two jobs more in it, the last job of the caller with
    /// the most jobs is dropped to make room.
    ///
    /// # Errors
    /// [`QueueFull`] if the queue is full and no other job was dropped. This job is dropped.
    pub fn submit(
        &self,
        caller: CallerId,
        job: impl FnOnce(&CpuPermit) + Send + 'static,
    ) -> Result<(), QueueFull> {
        let mut state = self.shared.lock();
        let pushed = state.queue.push(caller, Box::new(job));
        state.wake_one();
        // A dropped job notifies its caller, which must not happen under the lock.
        drop(state);
        pushed.map(drop)
    }

    /// Returns a view of the waiting jobs. It does not keep the threads running.
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

/// The right to compute. Every job holds it while it runs.
#[derive(Clone)]
pub struct CpuPermit(Arc<Shared>);

impl CpuPermit {
    /// Releases the permit to other jobs, calls `wait`, and returns its result. Before it returns, it
    /// blocks until a permit is free. It takes precedence over jobs that have not begun.
    pub fn release_while<R>(&self, wait: impl FnOnce() -> R) -> R {
        /// Takes the permit back even if `wait` panics. Otherwise there would be one permit too many.
        struct Reacquire<'a>(&'a Shared);
        impl Drop for Reacquire<'_> {
            fn drop(&mut self) {
                self.0.reacquire();
            }
        }
        self.0.release(&mut self.0.lock());
        let _reacquire = Reacquire(&self.0);
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
            self.permit_free.notify_one();
        } else {
            state.wake_one();
        }
    }

    fn reacquire(&self) {
        let mut state = self.lock();
        state.resuming += 1;
        while state.free_permits == 0 {
            state = self
                .permit_free
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.resuming -= 1;
        state.free_permits -= 1;
        // A thread that was woken for a job may have gone back to sleep because this job waited.
        state.wake_one();
    }

    /// Waits for a job and a permit for it. Returns `None` once the pool is closed and its queue is empty.
    fn next(&self) -> Option<(CallerId, Job)> {
        let mut state = self.lock();
        loop {
            if state.free_permits > 0
                && state.resuming == 0
                && let Some((caller, job)) = state.pop()
            {
                state.free_permits -= 1;
                // A job that resumed or ended in the meantime may not have woken a thread.
                state.wake_one();
                return Some((caller, job));
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
            // After a spurious wake-up, the thread is still in the list.
            state.idle.retain(|thread| thread.id() != id);
        }
    }
}

impl State {
    /// Takes the next job of a caller that may use another thread.
    fn pop(&mut self) -> Option<(CallerId, Job)> {
        let running = &self.running;
        let max = self.threads_max();
        // Requests without a caller share all threads.
        let may_begin = |caller| {
            caller == CallerId::UNKNOWN || running.get(&caller).is_none_or(|count| *count < max)
        };
        let (caller, job) = self.queue.pop(may_begin)?;
        *self.running.entry(caller).or_default() += 1;
        Some((caller, job))
    }

    /// Returns the maximum number of threads of each caller: an equal share if there were one caller more, so that this
    /// one finds a free thread. It is at least the number of permits, because more jobs do not compute anyway.
    fn threads_max(&self) -> usize {
        let waiting = self.queue.callers();
        let others = waiting.filter(|caller| !self.running.contains_key(caller));
        let callers = self.running.len() + others.count();
        (self.threads / (callers + 1)).max(self.permits).max(1)
    }

    /// Records that a job has ended.
    fn end(&mut self, caller: CallerId) {
        if let Entry::Occupied(mut count) = self.running.entry(caller) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

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

/// Increment of the nice value of these threads. On Linux, nice(2) affects only the calling thread. The
/// threads compute without pause, and an I/O thread that wakes up must not wait for the end of their time
/// slice.
const NICE_INCREMENT: i32 = 10;

fn work(permit: &CpuPermit) {
    if let Err(error) = rustix::process::nice(NICE_INCREMENT) {
        tracing::debug!(%error, "cannot lower the priority of a worker");
    }
    while let Some((caller, job)) = permit.0.next() {
        // A panic is a bug of this program, but the thread must continue to serve. The receiver of the
        // job's result finds its channel closed.
        let job = std::panic::AssertUnwindSafe(|| job(permit));
        if std::panic::catch_unwind(job).is_err() {
            tracing::error!("a job panicked");
        }
        let mut state = permit.0.lock();
        state.end(caller);
        permit.0.release(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    #[test]
    fn waiting_jobs_have_a_count_and_an_age_until_they_begin() {
        let pool = Pool::new("test", 1, 1, 2).expect("thread should start");
        let waiting = pool.waiting();
        let (begun, has_begun) = channel();
        let (end, may_end) = channel::<()>();
        let may_end = Arc::new(Mutex::new(may_end));
        let job = || {
            let (begun, may_end) = (begun.clone(), Arc::clone(&may_end));
            move |_: &CpuPermit| {
                begun.send(()).expect("test should receive");
                let may_end = may_end.lock().expect("lock should not be poisoned");
                may_end.recv().expect("test should send");
            }
        };
        pool.submit(CallerId::UNKNOWN, job())
            .expect("job should be queued");
        has_begun.recv().expect("job should begin");
        assert_eq!((waiting.depth(), waiting.oldest()), (0, Duration::ZERO));
        pool.submit(CallerId::UNKNOWN, job())
            .expect("job should be queued");
        let first = Instant::now();
        pool.submit(CallerId::UNKNOWN, job())
            .expect("job should be queued");
        assert_eq!(pool.submit(CallerId::UNKNOWN, job()), Err(QueueFull));
        assert_eq!(waiting.depth(), 2);
        let age = first.elapsed();
        assert!(waiting.oldest() >= age);
        for left in [1, 0] {
            end.send(()).expect("job should receive");
            has_begun.recv().expect("job should begin");
            assert_eq!(waiting.depth(), left);
        }
        end.send(()).expect("job should receive");
    }

    /// Jobs that wait occupy threads. Those of one caller leave threads to another.
    #[test]
    fn waiting_jobs_of_a_caller_leave_a_thread_to_another() {
        let [flood, single] = ["flood", "single"].map(CallerId::of);
        let pool = Pool::new("test", 4, 1, 100).expect("threads should start");
        let (begun, has_begun) = channel();
        let (end, may_end) = channel::<()>();
        let may_end = Arc::new(Mutex::new(may_end));
        for _ in 0..10 {
            let (begun, may_end) = (begun.clone(), Arc::clone(&may_end));
            pool.submit(flood, move |permit| {
                begun.send("flood").expect("test should receive");
                permit.release_while(|| {
                    let may_end = may_end.lock().expect("lock should not be poisoned");
                    may_end.recv().expect("test should send");
                });
            })
            .expect("job should be queued");
        }
        assert_eq!([has_begun.recv(), has_begun.recv()], [Ok("flood"); 2]);
        let for_single = begun.clone();
        pool.submit(single, move |_| {
            for_single.send("single").expect("test should receive");
        })
        .expect("job should be queued");
        assert_eq!(has_begun.recv(), Ok("single"));
        drop(begun);
        for _ in 0..10 {
            end.send(()).expect("job should receive");
        }
        assert_eq!(has_begun.iter().collect::<Vec<_>>(), ["flood"; 8]);
    }

    #[test]
    fn thread_continues_after_a_panic() {
        let pool = Pool::new("test", 1, 1, 2).expect("thread should start");
        pool.submit(CallerId::UNKNOWN, |_| panic!("as a test"))
            .expect("job should be queued");
        let (done, is_done) = channel();
        pool.submit(CallerId::UNKNOWN, move |_| {
            done.send(()).expect("test should receive");
        })
        .expect("job should be queued");
        is_done.recv().expect("second job should run");
    }

    /// With one permit and two threads, a job that waits lets another one compute, and gets its permit back
    /// before any job that has not begun.
    #[test]
    fn blocked_job_releases_its_permit_and_resumes_first() {
        let pool = Pool::new("test", 2, 1, 4).expect("threads should start");
        let (order, in_order) = channel();
        let (second_runs, is_second_running) = channel::<()>();
        let (resume, is_resuming) = channel::<()>();
        let first = order.clone();
        pool.submit(CallerId::UNKNOWN, move |permit| {
            first.send("first begins").expect("test should receive");
            permit.release_while(|| {
                is_second_running.recv().expect("second job should send");
                resume.send(()).expect("second job should receive");
            });
            first.send("first resumes").expect("test should receive");
        })
        .expect("job should be queued");
        assert_eq!(in_order.recv(), Ok("first begins"));
        let second = order.clone();
        let shared = Arc::clone(&pool.shared);
        pool.submit(CallerId::UNKNOWN, move |_| {
            second_runs.send(()).expect("first job should receive");
            is_resuming.recv().expect("first job should send");
            while shared.lock().resuming == 0 {
                std::thread::yield_now();
            }
            second.send("second ends").expect("test should receive");
        })
        .expect("job should be queued");
        pool.submit(CallerId::UNKNOWN, move |_| {
            order.send("third").expect("test should receive");
        })
        .expect("job should be queued");
        let all: Vec<_> = in_order.iter().collect();
        assert_eq!(all, ["second ends", "first resumes", "third"]);
        // The last job releases its permit after it has sent its text.
        while pool.shared.lock().free_permits != 1 {
            std::thread::yield_now();
        }
    }
}
