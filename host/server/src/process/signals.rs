//! Signals that stop the process.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Catches SIGXFSZ, so that a write beyond the limit on the size of a file (`ulimit -f`) fails with an error. By
/// default the signal ends the process. Call it inside a runtime.
///
/// # Errors
/// An error of the system.
pub(crate) fn survive_file_size_limit() -> std::io::Result<()> {
    // The handler stays in place when this is dropped.
    signal(SignalKind::from_raw(libc::SIGXFSZ)).map(drop)
}

/// Returns the number of SIGTERM and SIGINT that the process has received. The receiver is notified of each
/// one.
pub(crate) fn stops() -> std::io::Result<watch::Receiver<u32>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            sender.send_modify(|signals| *signals += 1);
        }
    });
    Ok(receiver)
}
