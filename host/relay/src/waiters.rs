//! The callers that wait for a signature.

use bulkhead_store::{BootMillis, RequestId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{oneshot, watch};

/// The signature of a message, or the reason why it will not be signed.
pub(crate) type SigningResult = Result<String, String>;

/// The end of a wait.
#[derive(Debug)]
pub(crate) enum WaitResult {
    /// The wait has a result. The result is in the store when `stored` closes.
    Finished {
        result: SigningResult,
        stored: watch::Receiver<()>,
    },
    /// No result can come in the time that is left.
    Released,
}

/// All waiting callers, by message.
#[derive(Clone, Default)]
pub(crate) struct Waiters(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    next: u64,
    by_message: BTreeMap<String, Vec<Waiter>>,
}

struct Waiter {
    number: u64,
    id: RequestId,
    until: BootMillis,
    result: oneshot::Sender<WaitResult>,
}

/// A waiting caller. Dropping the handle ends the wait.
pub(crate) struct WaiterHandle {
    waiters: Waiters,
    message: String,
    number: u64,
    pub(crate) result: oneshot::Receiver<WaitResult>,
}

impl Waiters {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a caller that waits for a message on behalf of a request.
    pub(crate) fn wait(&self, message: &str, id: &RequestId, until: BootMillis) -> WaiterHandle {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.inner();
        let number = inner.next;
        inner.next += 1;
        let waiter = Waiter {
            number,
            id: id.clone(),
            until,
            result: sender,
        };
        let same = inner.by_message.entry(message.to_owned()).or_default();
        same.push(waiter);
        WaiterHandle {
            waiters: self.clone(),
            message: message.to_owned(),
            number,
            result: receiver,
        }
    }

    /// Returns the number of the next caller to be registered.
    pub(crate) fn next(&self) -> u64 {
        self.inner().next
    }

    /// Sends a result to all callers that wait for a message. Returns the ids of their requests, which need
    /// no notification.
    pub(crate) fn resolve(
        &self,
        message: &str,
        result: &SigningResult,
        stored: &watch::Receiver<()>,
    ) -> Vec<RequestId> {
        let waiting = self.inner().by_message.remove(message).unwrap_or_default();
        let ids = waiting.into_iter().filter_map(|waiter| {
            let wait_result = WaitResult::Finished {
                result: result.clone(),
                stored: stored.clone(),
            };
            // A caller that has left does not receive the result.
            waiter.result.send(wait_result).ok().map(|()| waiter.id)
        });
        ids.collect()
    }

    /// Releases the callers whose number is below `number` and whose wait ends by `at`: no result can arrive
    /// before that. With `None` for `at`, all callers with such a number are released. Callers for a message that is
    /// `under_way` continue to wait.
    pub(crate) fn release_expired(
        &self,
        number: u64,
        at: Option<BootMillis>,
        under_way: impl Fn(&str) -> bool,
    ) {
        let mut inner = self.inner();
        for (message, waiting) in &mut inner.by_message {
            if under_way(message) {
                continue;
            }
            let released = waiting.extract_if(.., |waiter| {
                waiter.number < number && at.is_none_or(|at| waiter.until <= at)
            });
            for waiter in released {
                let _gone = waiter.result.send(WaitResult::Released);
            }
        }
        inner.by_message.retain(|_, waiting| !waiting.is_empty());
    }
}

impl WaiterHandle {
    /// Ends the wait. Returns the result if it was sent before, because the sender counts it as received.
    pub(crate) fn leave(mut self) -> Option<WaitResult> {
        self.take_out();
        self.result.try_recv().ok()
    }

    fn take_out(&self) {
        let mut inner = self.waiters.inner();
        if let Some(waiting) = inner.by_message.get_mut(&self.message) {
            waiting.retain(|waiter| waiter.number != self.number);
            if waiting.is_empty() {
                inner.by_message.remove(&self.message);
            }
        }
    }
}

impl Drop for WaiterHandle {
    fn drop(&mut self) {
        self.take_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_store::UnixMillis;

    fn id(number: u128) -> RequestId {
        RequestId::new(UnixMillis(0), number)
    }

    fn stored() -> watch::Receiver<()> {
        watch::channel(()).1
    }

    #[test]
    fn result_reaches_all_waiters_of_the_message_once() {
        let waiters = Waiters::default();
        let mut a = waiters.wait("m", &id(1), BootMillis(10));
        let gone = waiters.wait("m", &id(2), BootMillis(10));
        let other = waiters.wait("n", &id(3), BootMillis(10));
        drop(gone);
        let result = Ok("s".to_owned());
        assert_eq!(waiters.resolve("m", &result, &stored()), [id(1)]);
        assert_eq!(waiters.resolve("m", &result, &stored()), []);
        assert!(matches!(
            a.result.try_recv(),
            Ok(WaitResult::Finished { result: Ok(_), .. })
        ));
        assert!(other.leave().is_none());
        assert!(waiters.inner().by_message.is_empty());
    }

    /// A result may arrive between a caller's deadline and the end of its wait. The caller must return it.
    #[test]
    fn result_sent_before_leaving_is_returned() {
        let waiters = Waiters::default();
        let handle = waiters.wait("m", &id(1), BootMillis(10));
        let result = Err("no".to_owned());
        assert_eq!(waiters.resolve("m", &result, &stored()), [id(1)]);
        assert!(matches!(
            handle.leave(),
            Some(WaitResult::Finished { result: Err(_), .. })
        ));
    }

    #[test]
    fn only_waiters_that_expire_in_time_are_released() {
        let waiters = Waiters::default();
        let mut short = waiters.wait("short", &id(1), BootMillis(10));
        let mut under_way = waiters.wait("under way", &id(2), BootMillis(10));
        let mut long = waiters.wait("long", &id(3), BootMillis(30));
        let number = waiters.next();
        let mut later = waiters.wait("later", &id(4), BootMillis(10));
        waiters.release_expired(number, Some(BootMillis(20)), |message| {
            message == "under way"
        });
        assert!(matches!(short.result.try_recv(), Ok(WaitResult::Released)));
        assert!(under_way.result.try_recv().is_err() && long.result.try_recv().is_err());
        waiters.release_expired(number, None, |_| false);
        assert!(matches!(long.result.try_recv(), Ok(WaitResult::Released)));
        assert!(later.result.try_recv().is_err());
    }
}
