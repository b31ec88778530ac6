//! The threads that guests run on: as many as there is work for the processor to do at once, with
//! a bounded queue in front. I/O threads hand work over and wait without blocking.

use prometheus_client::metrics::gauge::Gauge;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// A fixed set of threads and their queue. Dropping it lets the threads end after what is queued.
pub struct Pool {
    queue: SyncSender<Job>,
    waiting: Gauge,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Pool {
    /// Starts `threads` threads with room for `queue` jobs that wait; `waiting` shows how many do.
    pub fn new(name: &str, threads: usize, queue: usize, waiting: Gauge) -> std::io::Result<Self> {
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
        // Counted first: the job may be taken before this returns.
        self.waiting.inc();
        self.queue
            .try_send(Box::new(job))
            .map_err(|error| match error {
                TrySendError::Full(_) | TrySendError::Disconnected(_) => {
                    self.waiting.dec();
                    Full
                }
            })
    }
}

/// How much lower the priority of these threads is (nice(2), for a thread alone on Linux). They
/// compute for as long as they get, and an I/O thread that wakes up must not wait for their time
/// slice to end.
const NICER: i32 = 10;

fn work(queue: &Mutex<Receiver<Job>>, waiting: &Gauge) {
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::debug!(%error, "a worker keeps its priority");
    }
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        waiting.dec();
        // A panic is a bug of ours, but it must not take a thread out of service. Whoever waits
        // for the job sees its end of the channel closed.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("a job panicked");
        }
    }
}
