//! The thread that reads. It waits for nobody: what is being written is not there yet.

use super::database::Database;
use super::writer::Joined;
use crate::{Result, StoreError, Unavailable};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::oneshot;

type Look = Box<dyn FnOnce(&Database) + Send>;

/// A second connection on a thread of its own, for what changes nothing. It sees what was committed
/// before it was asked.
pub(super) struct Reader {
    queue: SyncSender<Look>,
    /// Dropped after the queue, whose end is the thread's.
    _thread: Joined,
}

impl Reader {
    /// Starts the thread; `waiting_max` calls may wait for it.
    pub(super) fn start(database: Database, waiting_max: usize) -> Result<Self> {
        let (queue, looks) = sync_channel(waiting_max);
        let thread = Joined::start("store-reader", move || read(&database, &looks))?;
        Ok(Self {
            queue,
            _thread: thread,
        })
    }

    /// Asks the store.
    pub(super) async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Database) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (sender, receiver) = oneshot::channel();
        let look: Look = Box::new(move |database| {
            // Nobody there any more.
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
            tracing::error!("a look into the store panicked");
        }
    }
}
