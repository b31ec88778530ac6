//! Calls and notifications under way, and the end of all.

use std::sync::Arc;
use tokio::sync::watch;

/// How many there are, and whether more may begin.
#[derive(Clone)]
pub(crate) struct Tasks(Arc<watch::Sender<State>>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    under_way: usize,
    ending: bool,
}

/// One of them, for as long as it lives.
pub(crate) struct Task(Tasks);

impl Tasks {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    /// Whether nothing new may begin.
    pub(crate) fn are_ending(&self) -> bool {
        self.0.borrow().ending
    }

    pub(crate) fn begin(&self) -> Task {
        self.0.send_modify(|state| state.under_way += 1);
        Task(self.clone())
    }

    /// Lets nothing new begin, and waits until what is under way has ended.
    pub(crate) async fn end(&self) {
        self.0.send_modify(|state| state.ending = true);
        let mut state = self.0.subscribe();
        // It cannot close: the sender is ours.
        let _ended = state.wait_for(|state| state.under_way == 0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.under_way -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn the_end_waits_for_what_is_under_way() {
        let tasks = Tasks::new();
        let (first, second) = (tasks.begin(), tasks.begin());
        assert!(!tasks.are_ending());
        let mut context = Context::from_waker(Waker::noop());
        let mut end = pin!(tasks.end());
        assert!(end.as_mut().poll(&mut context).is_pending());
        assert!(tasks.are_ending());
        drop(first);
        assert!(end.as_mut().poll(&mut context).is_pending());
        drop(second);
        assert!(end.as_mut().poll(&mut context).is_ready());
    }
}
