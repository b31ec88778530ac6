//! The reader thread. Reads do not wait for writes: they see the committed data.

use super::database::Database;
use super::worker::Worker;
use crate::{Result, Unavailable};
use std::sync::mpsc::Receiver;
use tokio::sync::oneshot;

type Look = Box<dyn FnOnce(&Database) + Send>;

/// A read-only connection on its own thread. A read sees all changes that were committed before it was
/// queued.
pub(super) struct Reader(Worker<Look>);

impl Reader {
    /// Starts the thread. At most `waiting_max` reads wait for it.
    pub(super) fn start(database: Database, waiting_max: usize) -> Result<Self> {
        let worker = Worker::start("store-reader", waiting_max, move |looks| {
            read(&database, looks);
            Ok(())
        });
        Ok(Self(worker?))
    }

    /// Completes all queued reads and closes the connection.
    pub(super) async fn close(&self) -> Result<()> {
        self.0.close().await
    }

    /// Runs `look` on the thread and returns its result.
    ///
    /// # Errors
    /// The errors of [`Worker::submit`] and of `look`.
    pub(super) async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Database) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (sender, receiver) = oneshot::channel();
        let look: Look = Box::new(move |database| {
            // The caller may have stopped waiting.
            let _gone = sender.send(database.look(look));
        });
        self.0.submit(look)?;
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
