//! Accepts connections, and drains them at the end.

use crate::connection::serve_connection;
use crate::service::Service;
use crate::settings::Settings;
use crate::threads::ConnectionThreads;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Pause after a failure to accept. The usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Minimum time between two log messages about such failures.
const ACCEPT_LOG_PAUSE: Duration = Duration::from_secs(10);

/// The end of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainEnd {
    /// All requests received a response.
    Drained,
    /// Some requests may not have received a response.
    Cut,
}

/// Serves connections until the drain ends. `stop` is the number of signals: the first signal begins the
/// drain, and the second one cuts it short.
///
/// In the drain, the server accepts connections for [`Settings::drain_delay`]. Then it waits for at most
/// [`Settings::drain_timeout`] until all requests are finished and [`Service::finish`] has returned.
pub async fn serve<S: Service>(
    service: Arc<S>,
    settings: Settings,
    threads: ConnectionThreads,
    listener: TcpListener,
    mut stop: watch::Receiver<u32>,
) -> DrainEnd {
    let settings = Arc::new(settings);
    let connections = Arc::new(Semaphore::new(settings.connections_max as usize));
    let (close, closed) = watch::channel(false);
    let mut accepting = std::pin::pin!(accept(
        &service,
        &settings,
        &threads,
        listener,
        &connections,
        closed
    ));
    tokio::select! {
        () = accepting.as_mut() => {}
        () = signals(&mut stop, 1) => {}
    }
    service.begin_drain();
    let delay_ms = u64::try_from(settings.drain_delay.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(delay_ms, "draining");
    tokio::select! {
        () = accepting.as_mut() => {}
        () = tokio::time::sleep(settings.drain_delay) => {}
        () = signals(&mut stop, 2) => {}
    }
    let _no_receiver = close.send(true);
    let open = || service.open_connections().get();
    tracing::info!(connections = open(), "waiting for open requests");
    let connections_ended = async {
        accepting.await;
        let _all = connections.acquire_many(settings.connections_max).await;
    };
    // Both futures run concurrently, so that they share one time-out. The drain waits for `finish`, because
    // the outcome of a call or webhook that is cut is unknown.
    let is_finished = Cell::new(false);
    let finish = async || {
        is_finished.set(false);
        service.finish().await;
        is_finished.set(true);
    };
    let drained = async {
        tokio::join!(connections_ended, finish());
        // The last request may have started work that continues after its response.
        finish().await;
    };
    let reason = tokio::select! {
        biased;
        () = drained => {
            tracing::info!("drained");
            return DrainEnd::Drained;
        }
        () = tokio::time::sleep(settings.drain_timeout) => "time-out (--drain-timeout)",
        () = signals(&mut stop, 2) => "second signal",
    };
    tracing::warn!(connections = open(), reason, "cutting unfinished requests");
    service.cut(is_finished.get());
    DrainEnd::Cut
}

/// Waits until at least `count` signals have arrived.
async fn signals(stop: &mut watch::Receiver<u32>, count: u32) {
    if stop.wait_for(|&signals| signals >= count).await.is_err() {
        // The sender is dropped, so that no further signals arrive.
        std::future::pending::<()>().await;
    }
}

/// Accepts connections until `closed`. Then it accepts the connections that wait in the kernel, because
/// their clients may have sent requests, and closes the listener.
async fn accept<S: Service>(
    service: &Arc<S>,
    settings: &Arc<Settings>,
    threads: &ConnectionThreads,
    listener: TcpListener,
    connections: &Arc<Semaphore>,
    closed: watch::Receiver<bool>,
) {
    let mut closing = closed.clone();
    let mut logged: Option<Instant> = None;
    loop {
        let Ok(permit) = Arc::clone(connections).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|&closed| closed) => return,
        };
        // This removes the socket from the event queue of this thread. Another thread adds it to its own.
        match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => {
                let (service, settings) = (Arc::clone(service), Arc::clone(settings));
                let closed = closed.clone();
                service.open_connections().inc();
                threads.spawn(async move {
                    match TcpStream::from_std(stream) {
                        Ok(stream) => {
                            let service = Arc::clone(&service);
                            serve_connection(service, &settings, stream, peer.ip(), closed).await;
                        }
                        Err(error) => tracing::warn!(%error, "cannot register a connection"),
                    }
                    service.open_connections().dec();
                    drop(permit);
                });
            }
            Err(error) => {
                if logged.is_none_or(|at| at.elapsed() >= ACCEPT_LOG_PAUSE) {
                    logged = Some(Instant::now());
                    tracing::warn!(%error, "cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
