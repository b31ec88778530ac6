//! The threads that connections live on.
//!
//! Each has a scheduler, timers and, for small tokens, a sandbox of its own. Threads that steal
//! each other's work share the state of all that, and its cache lines move between the cores: a
//! seventh fewer requests a second (`bench/token.sh`). What is lost by it is that an idle thread
//! helps a busy one; nothing that runs here is long enough to need that.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A fixed number of threads. They end when it is dropped, with whatever runs on them.
pub(crate) struct IoThreads(Vec<IoThread>);

struct IoThread {
    handle: Handle,
    /// What was put there and has not ended.
    load: Arc<AtomicUsize>,
    _until_dropped: oneshot::Sender<()>,
}

impl IoThreads {
    /// Starts `count` threads, at least one.
    pub(crate) fn start(count: u16) -> std::io::Result<Self> {
        let threads = (0..count.max(1)).map(|number| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (sender, receiver) = oneshot::channel();
            std::thread::Builder::new()
                .name(format!("io-{number}"))
                .spawn(move || {
                    let _dropped = runtime.block_on(receiver);
                })?;
            Ok(IoThread {
                handle,
                load: Arc::default(),
                _until_dropped: sender,
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
        let thread = least.expect("there is a thread");
        let counted = Counted::new(&thread.load);
        thread.handle.spawn(async move {
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
    fn spread(threads: &IoThreads, count: usize) -> Vec<std::thread::ThreadId> {
        let (sender, receiver) = channel();
        let mut open = Vec::new();
        for _ in 0..count {
            let sender = sender.clone();
            let (close, closed) = oneshot::channel::<()>();
            open.push(close);
            threads.spawn(async move {
                sender
                    .send(std::thread::current().id())
                    .expect("listened to");
                let _closed = closed.await;
            });
        }
        let found = (0..count).map(|_| receiver.recv().expect("a thread"));
        found.collect()
    }

    #[test]
    fn connections_spread_evenly_and_room_comes_back() {
        let threads = IoThreads::start(2).expect("threads");
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
        let threads = IoThreads::start(1).expect("threads");
        threads.spawn(async { panic!("as a test") });
        assert_eq!(spread(&threads, 1).len(), 1);
        while threads.0[0].load.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
    }
}
