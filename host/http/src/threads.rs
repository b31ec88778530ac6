//! Threads with a scheduler each, and how connections are spread over them.
//!
//! Each thread has a scheduler and timers of its own. Threads that steal each other's work share the state
//! of all that, and its cache lines move between the cores: that cost a seventh of the requests a second
//! (`bench/token.sh`). In exchange, an idle thread does not help a busy one; nothing that runs here is long
//! enough to need that.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A thread that runs tasks. It ends when this is dropped, with all tasks that still run on it.
pub struct RuntimeThread {
    handle: Handle,
    _until_dropped: oneshot::Sender<()>,
}

impl RuntimeThread {
    /// Starts a thread of this name.
    ///
    /// # Errors
    /// If the system does not give a thread or an event queue.
    pub fn start(name: &str) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _dropped = runtime.block_on(receiver);
                // A blocking task may hang in a call of the system.
                runtime.shutdown_timeout(Duration::ZERO);
            })?;
        Ok(Self {
            handle,
            _until_dropped: sender,
        })
    }

    /// Spawns tasks on the thread.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// The threads that connections live on.
pub struct ConnectionThreads(Vec<ConnectionThread>);

struct ConnectionThread {
    thread: RuntimeThread,
    /// The number of connections on the thread.
    load: Arc<AtomicUsize>,
}

impl ConnectionThreads {
    /// Starts `count` threads, at least one.
    ///
    /// # Errors
    /// If the system does not give a thread or an event queue.
    pub fn start(count: u16) -> std::io::Result<Self> {
        let threads = (0..count.max(1)).map(|number| {
            Ok(ConnectionThread {
                thread: RuntimeThread::start(&format!("io-{number}"))?,
                load: Arc::default(),
            })
        });
        Ok(Self(threads.collect::<std::io::Result<_>>()?))
    }

    /// Runs a connection on the thread that has the fewest, from its first poll to its end.
    pub(crate) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let least = self
            .0
            .iter()
            .min_by_key(|thread| thread.load.load(Ordering::Relaxed));
        let thread = least.expect("there is at least one thread");
        let counted = Counted::new(&thread.load);
        thread.thread.handle().spawn(async move {
            connection.await;
            drop(counted);
        });
    }
}

/// One of the load, for as long as it lives.
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

    /// Which thread each of `count` connections is on, while all are open.
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
                    .expect("the test should listen");
                let _closed = closed.await;
            });
        }
        let found = (0..count).map(|_| receiver.recv().expect("a thread"));
        found.collect()
    }

    #[test]
    fn connections_spread_evenly_and_room_comes_back() {
        let threads = ConnectionThreads::start(2).expect("threads");
        for _ in 0..10 {
            let mut found = spread(&threads, 4);
            found.sort_by_key(|id| format!("{id:?}"));
            assert!(found[0] == found[1] && found[2] == found[3] && found[0] != found[2]);
            // They close in their own time.
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
    fn a_panic_leaves_the_thread_and_its_count_as_they_were() {
        let threads = ConnectionThreads::start(1).expect("threads");
        threads.spawn(async { panic!("as a test") });
        assert_eq!(spread(&threads, 1).len(), 1);
        while threads.0[0].load.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
    }
}
