//! The reader thread. Reads do not wait for writes: they see the committed data.

use super::database::Database;
use super::writer::Joined;
use crate::{Result, StoreError, Unavailable};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::oneshot;

type Look = Box<dyn FnOnce(&Database) + Send>;

/// A read-only connection on its own thread. A read sees all changes that were committed before it was
/// queued.
pub(super) struct Reader {
    queue: SyncSender<Look>,
    /// Dropped after the queue, because the end of the queue ends the thread.
    _thread: Joined,
}

impl Reader {
    /// Starts the thread. At most `waiting_max` reads wait for it.
    pub(super) fn start(database: Database, waiting_max: usize) -> Result<Self> {
        let (queue, looks) = sync_channel(waiting_max);
        let thread = Joined::start("store-reader", move || read(&database, &looks))?;
        Ok(Self {
            queue,
            _thread: thread,
        })
    }

    /// Runs `look` on the thread and returns its result.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the maximum number of reads waits, and the errors of `look`.
    pub(super) async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Database) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (sender, receiver) = oneshot::channel();
        let look: Look = Box::new(move |database| {
            // The caller may have stopped waiting.
            let _gone = sender.send(database.look(look));
        });
        self.queue.try_send(look).map_err(|_| StoreError::Busy)?;
        receiver
            .await
            .unwrap_or_else(|_| Err(Unavailable::Panicked.into()))
    }
}

fn read(database: &Database, looks: &Receiver<Look>) {
    while let Ok(look) = looks.recv() {
        let look = std::panic::AssertUnwindSafe(|| look(database));
        if std::panic::catch_unwind(look).is_err() {
            tracing::error!("a read of the store panicked");
        }
    }
}
