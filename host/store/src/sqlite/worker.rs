//! A thread with a bounded queue of jobs. Closing the queue ends the thread.

use crate::{Result, StoreError, Unavailable};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::watch;

/// The result of a thread, or `None` while it runs.
type End = Option<Result<()>>;

/// A thread that works on jobs. Dropping it blocks until all queued jobs are done and the thread has ended.
pub(super) struct Worker<Job> {
    /// `None` if no more jobs are accepted.
    queue: Mutex<Option<SyncSender<Job>>>,
    end: watch::Receiver<End>,
    thread: Option<JoinHandle<()>>,
}

impl<Job: Send + 'static> Worker<Job> {
    /// Starts the thread, which calls `run` once. At most `waiting_max` jobs wait for it.
    pub(super) fn start(
        name: &str,
        waiting_max: usize,
        run: impl FnOnce(&Receiver<Job>) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (queue, jobs) = sync_channel(waiting_max);
        let (ended, end) = watch::channel(None);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                let result = run(&jobs);
                // The worker may be dropped without waiting for the result.
                let _dropped = ended.send(Some(result));
            });
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            end,
            thread: Some(thread.map_err(|error| Unavailable::Thread(error.into()))?),
        })
    }

    /// Queues a job.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the maximum number of jobs waits, and [`Unavailable::Closing`] after
    /// [`Worker::close`]. The job is dropped then.
    pub(super) fn submit(&self, job: Job) -> Result<()> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or(Unavailable::Closing)?;
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => Unavailable::Panicked.into(),
        })
    }

    /// Accepts no more jobs, and returns the result of the thread after it has done all queued jobs.
    /// Idempotent and cancel-safe.
    ///
    /// # Errors
    /// The error of the thread.
    pub(super) async fn close(&self) -> Result<()> {
        self.close_queue();
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(Ok(())),
            Err(_) => Err(Unavailable::Panicked.into()),
        }
    }
}

impl<Job> Worker<Job> {
    fn close_queue(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        *queue = None;
    }
}

impl<Job> Drop for Worker<Job> {
    fn drop(&mut self) {
        self.close_queue();
        if let Some(thread) = self.thread.take() {
            // A panic was logged when it happened.
            let _panicked = thread.join();
        }
    }
}
