//! The log: events of the life cycle and failures. It is JSON unless standard error is a terminal.

use super::line_queue::LineQueue;
use prometheus_client::metrics::counter::Counter;
use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::panic::PanicHookInfo;
use std::sync::LazyLock;
use std::time::Duration;
use thiserror::Error;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The variable with the levels of the log.
pub(crate) const VARIABLE: &str = "BULKHEAD_LOG";

/// Maximum size of the lines that wait to be written. Further lines are lost and counted.
const QUEUE_BYTES_MAX: usize = 4 << 20;

/// Maximum time at the end of the process for writing the remaining lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static QUEUE: LazyLock<LineQueue> =
    LazyLock::new(|| LineQueue::new(QUEUE_BYTES_MAX, Counter::default()));

/// The log cannot be started.
#[derive(Debug, Error)]
pub(crate) enum LogError {
    #[error(
        "BULKHEAD_LOG is not valid. Give off, error, warn, info, debug or trace, or levels by target such as \
         bulkhead=debug,wasmtime=warn"
    )]
    Malformed,
    #[error("cannot start the thread of the log: {0}. Raise the limit on processes (ulimit -u)")]
    Thread(#[source] std::io::Error),
}

/// Writes the remaining lines when it is dropped, within [`FLUSH_TIMEOUT`].
pub(crate) struct FlushOnDrop;

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        QUEUE.flush(FLUSH_TIMEOUT);
    }
}

/// Returns the counter of lines that were lost, because the queue was full or standard error failed.
pub(crate) fn lost_lines() -> Counter {
    QUEUE.lost().clone()
}

/// Starts the log. Call it once per process. A thread of its own writes the lines, so that a reader of standard error
/// that pauses delays nothing else.
///
/// # Errors
/// [`LogError`] if the variable is malformed or the thread cannot be started.
pub(crate) fn start() -> Result<FlushOnDrop, LogError> {
    let directives = directives();
    let log = tracing_subscriber::registry()
        .with(filter(&directives)?)
        .with(filter_fn(is_discreet));
    let lines = tracing_subscriber::fmt::layer().with_writer(|| &*QUEUE);
    if std::io::stderr().is_terminal() {
        log.with(lines).init();
    } else {
        log.with(lines.json()).init();
    }
    // Not `Stderr`, whose lock others would wait for.
    let output = std::io::stderr().as_fd().try_clone_to_owned();
    let output = File::from(output.map_err(LogError::Thread)?);
    let thread = std::thread::Builder::new().name("log".to_owned());
    let thread = thread.spawn(|| QUEUE.write_to(output, report_lost));
    thread.map_err(LogError::Thread)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(FlushOnDrop)
}

fn report_lost(lost: u64) {
    tracing::warn!(
        lost,
        "log lines were lost, because standard error was not read in time"
    );
}

/// Logs a panic. The default hook writes to standard error and would wait for its reader.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(
        location,
        thread = thread.name(),
        reason = panic.payload_as_str(),
        "a thread panicked"
    );
}

/// Targets that log nothing below `info`, whatever the variable says. `tokio_postgres` would log messages
/// and signatures. The others belong to the compiler, which would log a gigabyte per component.
const QUIET: [&str; 6] = [
    "tokio_postgres",
    "cranelift",
    "regalloc2",
    "wasmtime::compile",
    "wasmtime_environ",
    "wasmtime_internal",
];

fn is_discreet(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO
        || !QUIET
            .iter()
            .any(|library| metadata.target().starts_with(library))
}

/// Returns the value of the variable, or an empty string if it is not set.
pub(crate) fn directives() -> String {
    std::env::var(VARIABLE).unwrap_or_default()
}

/// Checks a value of the variable.
pub(crate) fn check(directives: &str) -> Result<(), LogError> {
    filter(directives).map(drop)
}

/// Returns a filter with the level `info` and the given `directives`. Unknown levels are errors. The parser
/// would interpret a misspelt level as a target, and the log would be empty.
fn filter(directives: &str) -> Result<Targets, LogError> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_known = |directive: &str| match directive.split_once('=') {
        Some((target, level)) => {
            !target.is_empty() && LEVELS.contains(&level.to_ascii_lowercase().as_str())
        }
        None => LEVELS.contains(&directive),
    };
    let mut targets = Targets::new().with_default(Level::INFO);
    // The parser would interpret an empty directive as `error`.
    for directive in directives.split(',').filter(|one| !one.is_empty()) {
        if !is_known(directive) {
            return Err(LogError::Malformed);
        }
        let parsed: Targets = directive.parse().map_err(|_| LogError::Malformed)?;
        targets = match parsed.default_level() {
            Some(level) => targets.with_default(level),
            None => targets.with_targets(parsed),
        };
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_enables_the_targets_and_levels_of_its_directives() {
        let enables = |directives: &str, target: &str, level: Level| {
            let filter = filter(directives).expect("directives should be valid");
            filter.would_enable(target, &level)
        };
        assert!(enables("", "bulkhead", Level::INFO));
        assert!(!enables("", "bulkhead", Level::DEBUG));
        assert!(enables("debug", "hyper::proto", Level::DEBUG));
        assert!(!enables("off", "bulkhead", Level::ERROR));
        assert!(enables("bulkhead=trace", "bulkhead::relay", Level::TRACE));
        assert!(enables("bulkhead=trace", "hyper", Level::INFO));
        assert!(!enables("warn,hyper=debug", "bulkhead", Level::INFO));
        assert!(enables("warn,hyper=debug,", "hyper", Level::DEBUG));
    }

    #[test]
    fn directives_with_unknown_levels_are_rejected() {
        for valid in [
            "",
            "debug",
            "off",
            "bulkhead=trace",
            "warn,hyper=debug",
            "bulkhead_http::connection=debug",
        ] {
            assert!(filter(valid).is_ok(), "{valid}");
        }
        for invalid in ["debgu", "info,nonsense", "bulkhead=loud", "="] {
            assert!(filter(invalid).is_err(), "{invalid}");
        }
    }
}
