//! A queue of lines in front of a file or a stream, so that a slow reader or disk delays nothing else.

use prometheus_client::metrics::counter::Counter;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Lines that wait to be written by one thread.
///
/// Adding a line never waits for that thread. If the queue is full, the line is lost and counted.
pub(crate) struct LineQueue {
    state: Mutex<State>,
    /// Signals that lines were added or written.
    changed: Condvar,
    bytes_max: usize,
    lost: Counter,
}

#[derive(Default)]
struct State {
    waiting: Batch,
    /// Whether the thread is writing lines that it took from the queue.
    is_writing: bool,
    /// Whether the thread should return from its wait, even without lines.
    is_woken: bool,
}

/// Lines that are written together.
#[derive(Default)]
pub(crate) struct Batch {
    /// Complete lines.
    pub(crate) lines: Vec<u8>,
    /// The channels of the requests that wait for one of the lines.
    confirmations: Vec<oneshot::Sender<()>>,
}

impl Batch {
    /// Notifies the waiting requests that the lines are written.
    pub(crate) fn confirm(&mut self) {
        for confirmation in self.confirmations.drain(..) {
            // The request may have given up.
            let _gone = confirmation.send(());
        }
    }

    /// Notifies the waiting requests that the lines are lost, by closing their channels.
    pub(crate) fn discard(&mut self) {
        self.confirmations.clear();
    }
}

impl LineQueue {
    /// Creates a queue of at most `bytes_max` bytes. The thread holds as many again while it writes them. `lost` counts
    /// the lines for which there was no space.
    pub(crate) fn new(bytes_max: usize, lost: Counter) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            bytes_max,
            lost,
        }
    }

    /// Returns the counter of lost lines.
    pub(super) fn lost(&self) -> &Counter {
        &self.lost
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, which ends with a line break. Returns false if the queue is full: the line is lost.
    pub(crate) fn push(&self, line: &[u8]) -> bool {
        self.add(line, None)
    }

    /// Adds a line. The returned receiver gets a message once the line is written, and is closed if that fails. Returns
    /// `None` if the queue is full: the line is lost.
    pub(crate) fn push_confirmed(&self, line: &[u8]) -> Option<oneshot::Receiver<()>> {
        let (sender, receiver) = oneshot::channel();
        self.add(line, Some(sender)).then_some(receiver)
    }

    fn add(&self, line: &[u8], confirmation: Option<oneshot::Sender<()>>) -> bool {
        let mut state = self.state();
        if state.waiting.lines.len() + line.len() > self.bytes_max {
            self.lost.inc();
            return false;
        }
        state.waiting.lines.extend_from_slice(line);
        state.waiting.confirmations.extend(confirmation);
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Makes [`Self::take`] return, even without lines.
    pub(crate) fn wake(&self) {
        self.state().is_woken = true;
        self.changed.notify_all();
    }

    /// Replaces the batch with the lines that wait. The old lines of the batch must have been written or discarded. If no
    /// line waits, this waits for lines, for [`Self::wake`], or until `timeout` has passed.
    pub(crate) fn take(&self, batch: &mut Batch, timeout: Option<Duration>) {
        batch.lines.clear();
        batch.confirmations.clear();
        let mut state = self.state();
        state.is_writing = false;
        self.changed.notify_all();
        let is_idle = |state: &mut State| state.waiting.lines.is_empty() && !state.is_woken;
        let mut state = match timeout {
            None => self
                .changed
                .wait_while(state, is_idle)
                .unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.changed
                    .wait_timeout_while(state, timeout, is_idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        std::mem::swap(&mut state.waiting, batch);
        state.is_woken = false;
        state.is_writing = true;
    }

    /// Writes lines to `output` for ever. Calls `report` with the number of lines lost so far, if it has grown,
    /// whenever lines could be written.
    pub(super) fn write_to(&self, mut output: impl Write, report: impl Fn(u64)) -> ! {
        let mut batch = Batch::default();
        let mut reported = 0;
        loop {
            self.take(&mut batch, None);
            if output.write_all(&batch.lines).is_err() {
                let count = batch.lines.split_inclusive(|byte| *byte == b'\n').count();
                self.lost.inc_by(count as u64);
                continue;
            }
            let lost = self.lost.get();
            if lost > reported {
                report(lost);
                // The report itself may have been lost.
                if self.lost.get() == lost {
                    reported = lost;
                }
            }
        }
    }

    /// Waits until all lines are written, at most for `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) {
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.lines.is_empty();
        let waited = self
            .changed
            .wait_timeout_while(self.state(), timeout, is_busy);
        // The end of the process must not depend on the reader.
        drop(waited);
    }
}

/// Each call adds one line, which ends with a line break.
impl Write for &LineQueue {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::sync::Arc;
    use std::time::Instant;

    const LINE: &[u8] = b"0123456789abcde\n";

    /// Starts the thread, which reports the number of lost lines as a line.
    fn start(bytes_max: usize, output: impl Write + Send + 'static) -> Arc<LineQueue> {
        let queue = Arc::new(LineQueue::new(bytes_max, Counter::default()));
        let shared = Arc::clone(&queue);
        std::thread::spawn(move || {
            let report = |lost| {
                shared.push(format!("lost {lost}\n").as_bytes());
            };
            shared.write_to(output, report)
        });
        queue
    }

    #[test]
    fn full_queue_loses_lines_without_blocking_and_reports_them() {
        let (reader, writer) = std::io::pipe().expect("pipe should be created");
        let queue = start(1024, writer);
        let mut pushed = 0;
        let mut push = |count| {
            for _ in 0..count {
                queue.push(LINE);
            }
            pushed += count;
        };
        // Nothing reads the pipe. The thread waits for a reader once the pipe is full.
        let timeout = Duration::from_millis(50);
        loop {
            push(8);
            let start = Instant::now();
            queue.flush(timeout);
            if start.elapsed() >= timeout {
                break;
            }
        }
        push(1000);
        assert!((1..pushed).contains(&queue.lost().get()));
        let mut lines = BufReader::new(reader).lines();
        let mut complete = 0;
        loop {
            let line = lines.next().expect("a report should follow");
            let line = line.expect("pipe should be readable");
            match line.strip_prefix("lost ") {
                // There may be earlier reports, and some of those may be lost.
                Some(lost) if lost == queue.lost().get().to_string() => break,
                Some(_) => {}
                None => {
                    assert_eq!(line.as_bytes(), LINE.trim_ascii_end());
                    complete += 1;
                }
            }
        }
        assert!(complete < pushed && complete + queue.lost().get() >= pushed);
        queue.flush(Duration::from_secs(30));
    }

    #[test]
    fn flush_waits_until_all_lines_are_written() {
        let (reader, writer) = std::io::pipe().expect("pipe should be created");
        let queue = start(1 << 20, writer);
        let mut lines = BufReader::new(reader).lines();
        for number in 0..1000 {
            queue.push(format!("{number}\n").as_bytes());
        }
        queue.flush(Duration::from_secs(30));
        let state = queue.state();
        assert!(state.waiting.lines.is_empty() && !state.is_writing);
        drop(state);
        for number in 0..1000 {
            let line = lines.next().expect("line should be written");
            assert_eq!(line.expect("pipe should be readable"), number.to_string());
        }
        assert_eq!(queue.lost().get(), 0);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (reader, writer) = std::io::pipe().expect("pipe should be created");
        drop(reader);
        let queue = start(1 << 20, writer);
        for number in 1..=3 {
            queue.push(LINE);
            queue.flush(Duration::from_secs(30));
            assert_eq!(queue.lost().get(), number);
        }
    }

    #[test]
    fn confirmation_follows_the_writing_of_the_line() {
        let queue = LineQueue::new(2 * LINE.len(), Counter::default());
        let mut first = queue.push_confirmed(LINE).expect("there should be space");
        let mut second = queue.push_confirmed(LINE).expect("there should be space");
        assert!(queue.push_confirmed(LINE).is_none());
        assert_eq!(queue.lost().get(), 1);
        let mut batch = Batch::default();
        queue.take(&mut batch, None);
        assert_eq!(batch.lines, [LINE, LINE].concat());
        assert_eq!(first.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        batch.confirm();
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(()), Ok(())));
        let mut third = queue.push_confirmed(LINE).expect("there should be space");
        queue.take(&mut batch, None);
        batch.discard();
        assert_eq!(third.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn wait_for_lines_ends_after_its_time_or_when_it_is_woken() {
        let queue = LineQueue::new(1024, Counter::default());
        let mut batch = Batch::default();
        queue.take(&mut batch, Some(Duration::from_millis(1)));
        assert!(batch.lines.is_empty());
        queue.wake();
        queue.take(&mut batch, None);
        assert!(batch.lines.is_empty());
    }
}
