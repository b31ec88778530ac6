//! A queue of log lines in front of standard error, so that a slow reader of the log delays nothing else.

use prometheus_client::metrics::counter::Counter;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines that wait to be written by one thread.
///
/// Adding a line never waits for that thread. If the queue is full, the line is lost and counted.
pub(super) struct LogQueue {
    state: Mutex<State>,
    /// Signals that lines were added or written.
    changed: Condvar,
    bytes_max: usize,
    lost: Counter,
}

#[derive(Default)]
struct State {
    /// Complete lines.
    waiting: Vec<u8>,
    /// Whether the thread is writing lines that it took from the queue.
    is_writing: bool,
}

impl LogQueue {
    /// Creates a queue of at most `bytes_max` bytes. The thread holds as many again while it writes them.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            bytes_max,
            lost: Counter::default(),
        }
    }

    /// Returns the counter of lost lines.
    pub(super) fn lost(&self) -> &Counter {
        &self.lost
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + line.len() > self.bytes_max {
            self.lost.inc();
            return;
        }
        state.waiting.extend_from_slice(line);
        drop(state);
        self.changed.notify_all();
    }

    /// Writes lines to `output` for ever. Calls `report` with the number of lines lost so far, if it has grown,
    /// whenever lines could be written.
    pub(super) fn write_to(&self, mut output: impl Write, report: impl Fn(u64)) -> ! {
        let mut lines = Vec::new();
        let mut reported = 0;
        loop {
            lines.clear();
            let mut state = self.state();
            state.is_writing = false;
            self.changed.notify_all();
            let mut state = self
                .changed
                .wait_while(state, |state| state.waiting.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut state.waiting, &mut lines);
            state.is_writing = true;
            drop(state);
            if output.write_all(&lines).is_err() {
                let count = lines.split_inclusive(|byte| *byte == b'\n').count();
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
    pub(super) fn flush(&self, timeout: Duration) {
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        let waited = self
            .changed
            .wait_timeout_while(self.state(), timeout, is_busy);
        // The end of the process must not depend on the reader of the log.
        drop(waited);
    }
}

/// Each call adds one line, which ends with a line break.
impl Write for &LogQueue {
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
    fn start(bytes_max: usize, output: impl Write + Send + 'static) -> Arc<LogQueue> {
        let queue = Arc::new(LogQueue::new(bytes_max));
        let shared = Arc::clone(&queue);
        std::thread::spawn(move || {
            let report = |lost| shared.push(format!("lost {lost}\n").as_bytes());
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
            (0..count).for_each(|_| queue.push(LINE));
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
        assert!(state.waiting.is_empty() && !state.is_writing);
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
}
