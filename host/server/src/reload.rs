//! Threads that read files again when they change.
//!
//! The content is compared and not the time of the change, because file systems record times coarsely, and
//! mounted secrets change behind links. Such files are small.

use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// Time between two readings. A change is active about one second later at the latest.
const INTERVAL: Duration = Duration::from_secs(2);

/// A changed file is read again after this time, until two readings are equal. A file that is being written
/// is therefore not taken for a complete one.
const SETTLING: Duration = Duration::from_millis(50);
const SETTLING_READINGS_MAX: usize = 20;

/// Files whose content is active, and stays active until they have another good content.
pub(crate) trait Source: Send + Sync + 'static {
    /// The name of the content in the log, in the plural.
    const NAME: &'static str;
    type Content;
    type Error: Display;

    /// Reads the files. Returns their content with its digest.
    fn read(&self) -> Result<Digested<Self::Content>, Self::Error>;

    /// Checks a content and makes it active. Nothing changes if it is faulty.
    fn activate(&self, content: &Self::Content) -> Result<(), Self::Error>;

    /// Returns the text of an error for `/health`, without paths.
    fn reason(error: &Self::Error) -> String;
}

/// A source, and the state of its files.
pub(crate) struct Watched<S> {
    source: S,
    state: Mutex<FileState>,
    /// The number of faulty readings.
    failures: Counter,
}

/// The last reading of the files.
struct FileState {
    /// The digest of the active content.
    active: [u8; 32],
    /// The fault of the last reading.
    failing: Option<String>,
}

impl<S: Source> Watched<S> {
    /// Watches a source. `active` is the digest of its active content, and `failures` counts faulty readings.
    pub(crate) fn new(source: S, active: [u8; 32], failures: Counter) -> Self {
        Self {
            source,
            state: Mutex::new(FileState {
                active,
                failing: None,
            }),
            failures,
        }
    }

    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    fn state(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the fault of the last reading, without paths.
    pub(crate) fn failing(&self) -> Option<String> {
        self.state().failing.clone()
    }

    /// Returns the members `status` and `why` of `/health`.
    pub(crate) fn health(&self) -> Value {
        let failing = self.failing();
        let status = if failing.is_some() { "failing" } else { "ok" };
        json!({"status": status, "why": failing})
    }

    /// Starts a thread that reads the files again, until this value is dropped.
    ///
    /// # Errors
    /// If the system does not give a thread.
    pub(crate) fn watch(self: &Arc<Self>) -> std::io::Result<Reloader> {
        let watched = Arc::downgrade(self);
        Reloader::start(S::NAME, move || {
            let watched = watched.upgrade();
            watched.inspect(|watched| watched.reload()).is_some()
        })
    }

    /// Reads the files again. Nothing changes if they are faulty or have not changed.
    pub(crate) fn reload(&self) {
        let active = self.state().active;
        let read = settled(active, || self.source.read());
        let read = read.and_then(|(digest, content)| {
            let is_new = digest != active;
            if is_new {
                self.source.activate(&content)?;
            }
            Ok((digest, is_new))
        });
        let mut state = self.state();
        match read {
            Ok((digest, is_new)) => {
                let was_failing = state.failing.take().is_some();
                state.active = digest;
                if is_new || was_failing {
                    tracing::info!("{} read again", S::NAME);
                }
            }
            Err(error) => {
                let why = S::reason(&error);
                if state.failing.as_ref() != Some(&why) {
                    self.failures.inc();
                    let error = error.to_string();
                    tracing::error!(
                        error,
                        "cannot read {} again; the previous ones stay active",
                        S::NAME
                    );
                    state.failing = Some(why);
                }
            }
        }
    }
}

/// A thread that reads files again.
pub(crate) struct Reloader(Thread);

impl Reloader {
    /// Starts a thread that calls `reload` until it returns false.
    ///
    /// # Errors
    /// If the system does not give a thread.
    fn start(name: &str, reload: impl Fn() -> bool + Send + 'static) -> std::io::Result<Self> {
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            loop {
                std::thread::park_timeout(INTERVAL);
                if !reload() {
                    return;
                }
            }
        })?;
        Ok(Self(thread.thread().clone()))
    }

    /// Ends the current wait.
    pub(crate) fn wake(&self) {
        self.0.unpark();
    }
}

/// A content with its digest.
pub(crate) type Digested<T> = ([u8; 32], T);

/// Returns the content that `read` returns twice in a row. The first reading is enough if the content is the
/// active one. If the content never settles, that of the last of about 20 readings is returned.
///
/// # Errors
/// The error of the last reading.
fn settled<T, E>(
    active: [u8; 32],
    read: impl Fn() -> Result<Digested<T>, E>,
) -> Result<Digested<T>, E> {
    let mut last = read();
    for _ in 0..SETTLING_READINGS_MAX {
        if last.as_ref().is_ok_and(|(digest, _)| *digest == active) {
            break;
        }
        std::thread::sleep(SETTLING);
        let next = read();
        let is_settled = match (&last, &next) {
            (Ok((last, _)), Ok((next, _))) => last == next,
            (Err(_), Err(_)) => true,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        last = next;
        if is_settled {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::sync::mpsc;

    /// Returns the settled content, and the number of readings that were not needed.
    fn read_in_turn(contents: &[Result<u8, ()>], active: u8) -> (Result<u8, ()>, usize) {
        let left = RefCell::new(VecDeque::from(contents.to_vec()));
        let read = || {
            let next = left.borrow_mut().pop_front();
            let content = next.expect("there should be no more readings")?;
            Ok(([content; 32], content))
        };
        let content = settled([active; 32], read).map(|(_, content)| content);
        (content, left.borrow().len())
    }

    #[test]
    fn changed_content_is_read_until_it_is_the_same_twice() {
        assert_eq!(read_in_turn(&[Ok(1), Ok(2)], 1), (Ok(1), 1));
        let changing = [Ok(2), Ok(3), Ok(4), Ok(4)];
        assert_eq!(read_in_turn(&changing, 1), (Ok(4), 0));
        assert_eq!(read_in_turn(&[Err(()), Err(())], 1), (Err(()), 0));
        assert_eq!(read_in_turn(&[Err(()), Ok(1)], 1), (Ok(1), 0));
    }

    #[test]
    fn wake_ends_the_wait_and_false_ends_the_thread() {
        let (sender, receiver) = mpsc::channel();
        let reloader = Reloader::start("test", move || {
            sender.send(()).expect("test should receive");
            false
        });
        let reloader = reloader.expect("thread should start");
        reloader.wake();
        receiver
            .recv_timeout(INTERVAL / 2)
            .expect("reload should be called before the interval has passed");
        // The thread drops the sender when it ends.
        let ended = receiver.recv_timeout(INTERVAL / 2);
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
