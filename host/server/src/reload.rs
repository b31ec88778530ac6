//! Threads that read files again when they change.
//!
//! The content is compared and not the time of the change, because file systems record times coarsely, and
//! mounted secrets change behind links. Such files are small.

use std::thread::Thread;
use std::time::Duration;

/// Time between two readings. A change is active about one second later at the latest.
const INTERVAL: Duration = Duration::from_secs(2);

/// A changed file is read again after this time, until two readings are equal. A file that is being written
/// is therefore not taken for a complete one.
const SETTLING: Duration = Duration::from_millis(50);
const SETTLING_READINGS_MAX: usize = 20;

/// A thread that reads files again.
pub(crate) struct Reloader(Thread);

impl Reloader {
    /// Starts a thread that calls `reload` until it returns false.
    ///
    /// # Errors
    /// If the system does not give a thread.
    pub(crate) fn start(
        name: &str,
        reload: impl Fn() -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
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
pub(crate) fn settled<T, E>(
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
