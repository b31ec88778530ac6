//! Signals that stop the process.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

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
