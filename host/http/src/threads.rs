//! Threads for connections.
//!
//! Each thread has a scheduler and timers of its own, and does not run tasks of other threads. With one
//! scheduler for all threads, its state moved between the caches of the cores, and the server handled a
//! seventh fewer requests per second (`bench/token.sh`). The disadvantage is that an idle thread does not
//! help a busy one. The tasks here are too short to need that.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A thread that runs tasks. Dropping it ends the thread and all its tasks.
pub struct RuntimeThread {
    handle: Handle,
    _until_dropped: oneshot::Sender<()>,
}

impl RuntimeThread {
    /// Starts a thread with the given name.
    ///
    /// # Errors
    /// [`std::io::Error`] if the system does not provide a thread or an event queue.
    pub fn start(name: &str) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _dropped = runtime.block_on(receiver);
                // Do not wait for blocking tasks, because they may hang in a system call.
                runtime.shutdown_timeout(Duration::ZERO);
            })?;
        Ok(Self {
            handle,
            _until_dropped: sender,
        })
    }

    /// Returns the handle that spawns tasks on the thread.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// The threads that serve connections.
pub struct ConnectionThreads(Vec<ConnectionThread>);

struct ConnectionThread {
    thread: RuntimeThread,
    /// The number of connections on the thread.
    load: Arc<AtomicUsize>,
}

impl ConnectionThreads {
    /// Starts `count` threads, or one if `count` is 0.
    ///
    /// # Errors
    /// [`std::io::Error`] if the system does not provide a thread or an event queue.
    pub fn start(count: u16) -> std::io::Result<Self> {
        let threads = (0..count.max(1)).map(|number| {
            Ok(ConnectionThread {
                thread: RuntimeThread::start(&format!("io-{number}"))?,
                load: Arc::default(),
            })
        });
        Ok(Self(threads.collect::<std::io::Result<_>>()?))
    }

    /// Runs a connection on the thread that has the fewest connections.
    pub(crate) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let thread = self
            .0
            .iter()
            .min_by_key(|thread| thread.load.load(Ordering::Relaxed))
            .expect("there should be at least one thread");
        let counted = Counted::new(&thread.load);
        thread.thread.handle().spawn(async move {
            connection.await;
            drop(counted);
        });
    }
}

/// A connection's share of the load. Dropping it subtracts one.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// Opens `count` connections and returns the thread of each one.
    fn spread(threads: &ConnectionThreads, count: usize) -> Vec<std::thread::ThreadId> {
        let (sender, receiver) = channel();
        let mut open = Vec::new();
        for _ in 0..count {
            let sender = sender.clone();
            let (close, closed) = oneshot::channel::<()>();
            open.push(close);
            threads.spawn(async move {
                sender
                    .send(std::thread::current().id())
                    .expect("test should receive");
                let _closed = closed.await;
            });
        }
        let found = (0..count).map(|_| receiver.recv().expect("connection should run"));
        found.collect()
    }

    #[test]
    fn connections_are_spread_evenly_and_removed_from_the_load() {
        let threads = ConnectionThreads::start(2).expect("threads should start");
        for _ in 0..10 {
            let mut found = spread(&threads, 4);
            found.sort_by_key(|id| format!("{id:?}"));
            assert!(found[0] == found[1] && found[2] == found[3] && found[0] != found[2]);
            // The connections end asynchronously.
            while threads
                .0
                .iter()
                .any(|thread| thread.load.load(Ordering::Relaxed) > 0)
            {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn thread_continues_and_load_is_correct_after_a_panic() {
        let threads = ConnectionThreads::start(1).expect("thread should start");
        threads.spawn(async { panic!("as a test") });
        assert_eq!(spread(&threads, 1).len(), 1);
        while threads.0[0].load.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
    }
}
