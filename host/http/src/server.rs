//! Accepting connections, and the drain.

use crate::connection::serve_connection;
use crate::service::Service;
use crate::settings::Settings;
use crate::threads::ConnectionThreads;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Pause after a failure to accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Such failures are logged at most this often.
const ACCEPT_LOG_PAUSE: Duration = Duration::from_secs(10);

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainEnd {
    /// All requests were answered.
    Drained,
    /// Some requests may not have been answered.
    Cut,
}

/// Serves until `stop` says so, and returns when all that ran has ended or its time is over. `stop` counts
/// signals: the first one begins the drain, the second one cuts it short.
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
    let _nobody = close.send(true);
    let open = || service.open_connections().get();
    tracing::info!(connections = open(), "waiting for what runs");
    let answered = async {
        accepting.await;
        let _all = connections.acquire_many(settings.connections_max).await;
    };
    // Both at once, so that they share one time-out. A call or a webhook that was cut would have an outcome
    // that nobody knows.
    let is_finished = Cell::new(false);
    let finish = async || {
        is_finished.set(false);
        service.finish().await;
        is_finished.set(true);
    };
    let drained = async {
        tokio::join!(answered, finish());
        // The last request may have begun work that outlasts it.
        finish().await;
    };
    let why = tokio::select! {
        biased;
        () = drained => {
            tracing::info!("drained");
            return DrainEnd::Drained;
        }
        () = tokio::time::sleep(settings.drain_timeout) => "time-out (--drain-timeout)",
        () = signals(&mut stop, 2) => "second signal",
    };
    tracing::warn!(connections = open(), why, "cutting what still runs");
    service.cut(is_finished.get());
    DrainEnd::Cut
}

/// Waits until that many signals came.
async fn signals(stop: &mut watch::Receiver<u32>, count: u32) {
    if stop.wait_for(|&signals| signals >= count).await.is_err() {
        // Nobody can send any more.
        std::future::pending::<()>().await;
    }
}

/// Accepts until `closed`, and then takes the connections that the kernel has accepted already, because
/// their clients may have sent requests. Closes the listener.
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
        // Deregistered from this thread's event queue, to be registered with another's.
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
                        Err(error) => tracing::warn!(%error, "cannot watch a connection"),
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
