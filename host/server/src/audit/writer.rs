//! The thread that writes the audit log.

use super::metrics::AuditMetrics;
use super::output::Output;
use super::rejections::Rejections;
use crate::process::{Batch, LineQueue};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The reason in `/health` after the file could not be opened again.
const OLD_FILE: &str = "the file cannot be opened again, so that the old one stays in use";

/// The state that the thread shares with requests.
pub(super) struct Shared {
    pub(super) queue: LineQueue,
    pub(super) rejections: Rejections,
    /// Whether the thread should open the file again.
    pub(super) reopen: AtomicBool,
    failing: Mutex<Option<String>>,
    pub(super) metrics: AuditMetrics,
}

impl Shared {
    pub(super) fn new(queue: LineQueue, metrics: AuditMetrics) -> Self {
        Self {
            queue,
            rejections: Rejections::default(),
            reopen: AtomicBool::new(false),
            failing: Mutex::new(None),
            metrics,
        }
    }

    /// Returns the reason why the last lines were not written, or `None` if they were.
    pub(super) fn failing(&self) -> Option<String> {
        let failing = self.failing.lock();
        failing.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records that a line was lost because the queue is full. The thread ends this state once it writes again.
    pub(super) fn line_was_lost(&self) {
        self.set_failing(Some(
            "the queue is full, because the file is written too slowly".to_owned(),
        ));
    }

    /// Sets the reason. Returns whether it differs from the reason before.
    fn set_failing(&self, why: Option<String>) -> bool {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *failing != why;
        *failing = why;
        is_new
    }

    /// Writes lines for ever. Adds the lines of the rejections after each `interval`.
    pub(super) fn write_to(&self, mut output: Output, interval: Duration) -> ! {
        let mut batch = Batch::default();
        let mut due = Instant::now() + interval;
        // Whether the file could not be opened again. Each batch tries it again.
        let mut is_old = false;
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            self.queue.take(&mut batch, Some(wait));
            if self.reopen.swap(false, Ordering::Relaxed) {
                is_old = !reopen(&mut output);
            } else if is_old {
                is_old = output.reopen().is_err();
            }
            if Instant::now() >= due {
                due = Instant::now() + interval;
                for line in self.rejections.take_lines(SystemTime::now()) {
                    batch.lines.extend_from_slice(&line);
                }
            }
            if batch.lines.is_empty() {
                continue;
            }
            let count = batch.lines.split_inclusive(|byte| *byte == b'\n').count();
            let lost = match output.write(&batch.lines) {
                Ok(()) => {
                    batch.confirm();
                    let why = is_old.then(|| OLD_FILE.to_owned());
                    if self.set_failing(why) && !is_old {
                        tracing::info!("the audit log is written again");
                    }
                    0
                }
                Err((lost, error)) => {
                    batch.discard();
                    let error = error.to_string();
                    if self.set_failing(Some(error.clone())) {
                        tracing::error!(error, "cannot write the audit log; lines are lost");
                    }
                    lost
                }
            };
            self.metrics.written.inc_by((count - lost) as u64);
            self.metrics.lost.inc_by(lost as u64);
        }
    }
}

/// Opens the file again, and returns whether that succeeded.
fn reopen(output: &mut Output) -> bool {
    match output.reopen() {
        Ok(()) => {
            tracing::info!("audit log opened again");
            true
        }
        Err(error) => {
            let error = error.to_string();
            tracing::error!(
                error,
                "cannot open the audit log again; the old file stays in use"
            );
            false
        }
    }
}
