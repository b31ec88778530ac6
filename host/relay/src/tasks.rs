//! Counts the running calls and notifications, and waits for them when the relay ends.

use std::sync::Arc;
use tokio::sync::watch;

/// The number of running tasks, and whether more may start.
#[derive(Clone)]
pub(crate) struct Tasks(Arc<watch::Sender<State>>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    under_way: usize,
    ending: bool,
}

/// A running task. Dropping it ends the task.
pub(crate) struct Task(Tasks);

impl Tasks {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    /// Returns whether no new tasks may start.
    pub(crate) fn are_ending(&self) -> bool {
        self.0.borrow().ending
    }

    pub(crate) fn begin(&self) -> Task {
        self.0.send_modify(|state| state.under_way += 1);
        Task(self.clone())
    }

    /// Prevents new tasks, and waits until the running ones have ended.
    pub(crate) async fn end(&self) {
        self.0.send_modify(|state| state.ending = true);
        let mut state = self.0.subscribe();
        // The channel cannot close, because `self` holds the sender.
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
    fn end_waits_for_running_tasks() {
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
