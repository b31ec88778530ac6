//! The audit log: a line of JSON for each request, with its caller and its outcome, and without anything
//! confidential.
//!
//! A request that needs a scope has a line of its own if the server is open or the key is valid. Other rejected requests
//! are counted by address. Writing never blocks a request, except with `--audit-required`: then a response waits for its
//! line.

pub(crate) mod metrics;
mod output;
mod problems;
mod record;
mod rejections;
mod settings;
mod writer;

use crate::access::Caller;
use crate::process::LineQueue;
use bulkhead_http::{Problem, setting};
use metrics::AuditMetrics;
use output::{OpenError, Output};
use record::Record;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use writer::Shared;

pub(crate) use problems::KINDS as PROBLEM_KINDS;
pub(crate) use record::{Outcome, Request};
pub(crate) use settings::AuditSettings;

/// Maximum time at the end of the process for writing the remaining lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The audit log of a running server.
pub(crate) struct Audit {
    /// `None` if the server has no audit log.
    shared: Option<Arc<Shared>>,
    /// The time for which a response waits for its line. `None` if it does not wait.
    required: Option<Duration>,
}

/// The audit log cannot be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    #[error("{}, {}, {source}", setting!(AuditSettings, audit_log), file.display())]
    Open {
        file: PathBuf,
        source: AuditFileError,
    },
    #[error(
        "cannot start the thread of the audit log: {0}. Raise the limit on processes (ulimit -u)"
    )]
    Thread(#[from] std::io::Error),
}

/// The file of the audit log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct AuditFileError(#[from] OpenError);

impl Audit {
    /// Opens the file, and starts the thread that writes it.
    ///
    /// # Errors
    /// [`AuditError`] if the file cannot be opened or the thread cannot be started.
    pub(crate) fn start(
        settings: &AuditSettings,
        metrics: &AuditMetrics,
    ) -> Result<Self, AuditError> {
        let Some(file) = &settings.audit_log else {
            return Ok(Self {
                shared: None,
                required: None,
            });
        };
        let output = Output::open(file).map_err(|source| AuditError::Open {
            file: file.clone(),
            source: source.into(),
        })?;
        let queue = LineQueue::new(settings.audit_queue_max.as_usize(), metrics.lost.clone());
        let shared = Arc::new(Shared::new(queue, metrics.clone()));
        let for_thread = Arc::clone(&shared);
        let interval = settings.audit_rejections_interval;
        let thread = std::thread::Builder::new().name("audit".to_owned());
        thread.spawn(move || for_thread.write_to(output, interval))?;
        Ok(Self {
            shared: Some(shared),
            required: settings
                .audit_required
                .is_on()
                .then_some(settings.audit_timeout),
        })
    }

    /// Returns whether the server has an audit log.
    pub(crate) fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// Opens the file again, soon and on the thread that writes it. If that fails, the old file stays in use.
    pub(crate) fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.reopen.store(true, Ordering::Relaxed);
            shared.queue.wake();
        }
    }

    /// Writes the remaining lines at the end of the process, within [`FLUSH_TIMEOUT`].
    pub(crate) fn finish(&self) {
        if let Some(shared) = &self.shared {
            for line in shared.rejections.take_lines(SystemTime::now()) {
                shared.queue.push(&line);
            }
            shared.queue.flush(FLUSH_TIMEOUT);
        }
    }

    /// Returns the member `audit` of `/health`, and whether the file is faulty.
    pub(crate) fn health(&self) -> (Value, bool) {
        let Some(shared) = &self.shared else {
            return (json!({"status": "off"}), false);
        };
        let failing = shared.failing();
        let status = if failing.is_some() { "failing" } else { "ok" };
        let document = json!({"status": status, "why": failing});
        (document, failing.is_some())
    }

    /// Begins the record of a request. The request has no line until [`AuditedRequest::set_caller`] is called.
    pub(crate) fn begin<'a>(&'a self, request: Request<'a>) -> AuditedRequest<'a> {
        AuditedRequest {
            record: self.shared.is_some().then_some(Record {
                request,
                caller: None,
            }),
            wait: Wait::Never,
            audit: self,
        }
    }

    /// Adds the line of a request, or counts the request if its caller is unknown.
    fn add(&self, record: &Record<'_>, wait: Wait, outcome: Outcome) -> Written {
        let Some(shared) = &self.shared else {
            return Written::NotRequired;
        };
        match (&record.caller, outcome.code) {
            (None, Some(code)) => shared.rejections.count(record.client_network(), code),
            // A request that needs no key.
            (None, None) => {}
            (Some(_), _) => {
                let line = record.line(outcome);
                if self.required.is_some() && wait == Wait::IfRequired {
                    let written = shared.queue.push_confirmed(&line);
                    if written.is_none() {
                        shared.line_was_lost();
                    }
                    return Written::Later(written);
                }
                if !shared.queue.push(&line) {
                    shared.line_was_lost();
                }
            }
        }
        Written::NotRequired
    }
}

/// Whether a response waits until its line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// If the operator requires it.
    IfRequired,
    Never,
}

/// How a line was added.
enum Written {
    /// The response does not wait for the line.
    NotRequired,
    /// A message follows once the line is written. The channel closes if that fails. `None` if the line is lost.
    Later(Option<oneshot::Receiver<()>>),
}

/// A request that is being handled. Its line is added when it ends, which also happens if the client closes the connection
/// early.
pub(crate) struct AuditedRequest<'a> {
    record: Option<Record<'a>>,
    wait: Wait,
    audit: &'a Audit,
}

impl AuditedRequest<'_> {
    /// Sets the caller, so that the request gets a line.
    pub(crate) fn set_caller(&mut self, caller: &Caller, wait: Wait) {
        self.wait = wait;
        if let Some(record) = &mut self.record {
            record.caller = Some(caller.clone());
        }
    }

    /// Adds the line. If the operator requires it, waits until the line is written, at most for `--audit-timeout`.
    ///
    /// If the future is dropped, the line is written nevertheless.
    ///
    /// # Errors
    /// 503 if the line is required and was not written in time.
    pub(crate) async fn end(mut self, outcome: Outcome) -> Result<(), Problem> {
        let Some(record) = self.record.take() else {
            return Ok(());
        };
        let (Written::Later(written), Some(timeout)) = (
            self.audit.add(&record, self.wait, outcome),
            self.audit.required,
        ) else {
            return Ok(());
        };
        let written = written.ok_or_else(problems::unavailable)?;
        match tokio::time::timeout(timeout, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(problems::unavailable()),
        }
    }
}

impl Drop for AuditedRequest<'_> {
    fn drop(&mut self) {
        if let Some(record) = &self.record {
            let outcome = Outcome {
                status: None,
                code: None,
                sent_bytes: 0,
            };
            // The client has closed the connection.
            let _not_awaited = self.audit.add(record, Wait::Never, outcome);
        }
    }
}

/// Returns an error text if the file of the audit log cannot be opened.
pub(crate) fn problem(settings: &AuditSettings) -> Option<String> {
    let file = settings.audit_log.as_deref()?;
    let problem = output::problem(file)?;
    let setting = setting!(AuditSettings, audit_log);
    Some(format!("{setting}, {}, {problem}", Path::display(file)))
}

/// Returns a document as a line, with its line break.
fn line(document: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(document).expect("document should be serializable");
    line.push(b'\n');
    line
}
