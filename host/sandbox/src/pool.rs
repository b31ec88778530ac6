//! The threads that guests run on: as many as there is work for the processor to do at once, with
//! a bounded queue in front. I/O threads hand work over and wait without blocking.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

type Job = Box<dyn FnOnce() + Send>;

/// A fixed set of threads and their queue. Dropping it lets the threads end after what is queued.
pub struct Pool {
    queue: SyncSender<Job>,
    waiting: Waiting,
}

/// What waits in a queue, for whoever watches it.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<Mutex<VecDeque<Instant>>>);

impl Waiting {
    /// How many jobs wait.
    pub fn depth(&self) -> usize {
        self.since().len()
    }

    /// For how long the oldest of them has; nothing where none waits.
    pub fn oldest(&self) -> Duration {
        self.since()
            .front()
            .map_or(Duration::ZERO, Instant::elapsed)
    }

    /// When each came, in order.
    fn since(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Pool {
    /// Starts `threads` threads with room for `queue` jobs that wait.
    pub fn new(name: &str, threads: usize, queue: usize) -> std::io::Result<Self> {
        let waiting = Waiting::default();
        let (sender, receiver) = sync_channel::<Job>(queue);
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads {
            let (receiver, waiting) = (Arc::clone(&receiver), waiting.clone());
            std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || work(&receiver, &waiting))?;
        }
        Ok(Self {
            queue: sender,
            waiting,
        })
    }

    /// Queues a job, or gives it up at once.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Full> {
        // Held until the job is in the queue: what is taken out first came first.
        let mut waiting = self.waiting.since();
        self.queue.try_send(Box::new(job)).map_err(|_| Full)?;
        waiting.push_back(Instant::now());
        Ok(())
    }

    /// What waits.
    pub fn waiting(&self) -> Waiting {
        self.waiting.clone()
    }
}

/// How much lower the priority of these threads is (nice(2), for a thread alone on Linux). They
/// compute for as long as they get, and an I/O thread that wakes up must not wait for their time
/// slice to end.
const NICER: i32 = 10;

fn work(queue: &Mutex<Receiver<Job>>, waiting: &Waiting) {
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::debug!(%error, "a worker keeps its priority");
    }
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        waiting.since().pop_front();
        // A panic is a bug of ours, but it must not take a thread out of service. Whoever waits
        // for the job sees its end of the channel closed.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("a job panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn what_waits_is_counted_and_aged_until_it_is_taken() {
        let pool = Pool::new("test", 1, 2).expect("a thread");
        let waiting = pool.waiting();
        let (taken, was_taken) = channel();
        let (go_on, told) = channel::<()>();
        let told = Arc::new(Mutex::new(told));
        let job = || {
            let (taken, told) = (taken.clone(), Arc::clone(&told));
            move || {
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
        assert_eq!(pool.submit(job()), Err(Full));
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
        let pool = Pool::new("test", 1, 2).expect("a thread");
        pool.submit(|| panic!("as a test")).expect("room");
        let (done, was_done) = channel();
        pool.submit(move || done.send(()).expect("listened to"))
            .expect("room");
        was_done.recv().expect("the thread goes on");
    }
}
