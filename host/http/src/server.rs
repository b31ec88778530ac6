//! Accepts connections, and drains them at the end.

use crate::connection::{Scheme, serve_connection};
use crate::listener::{Accepted, Listener, Opened};
use crate::service::{Connection, Service};
use crate::settings::Settings;
use crate::socket::Socket;
use crate::threads::ConnectionThreads;
use crate::tls::{Handshake, HandshakeFailure, Tls};
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// Pause after a failure to accept. The usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Minimum time between two log messages about such failures.
const ACCEPT_LOG_PAUSE: Duration = Duration::from_secs(10);

/// Listeners that share a limit on connections.
pub struct ListenerGroup {
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// Maximum number of open connections. Further connections wait; each listener holds one of them.
    pub connections_max: u32,
}

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
    groups: Vec<ListenerGroup>,
    mut stop: watch::Receiver<u32>,
) -> DrainEnd {
    let settings = Arc::new(settings);
    let (close, closed) = watch::channel(false);
    let threads = Arc::new(threads);
    let mut limits = Vec::new();
    let mut loops: Vec<AcceptLoop> = Vec::new();
    for (number, group) in groups.into_iter().enumerate() {
        let connections = Arc::new(Semaphore::new(group.connections_max as usize));
        limits.push((Arc::clone(&connections), group.connections_max));
        for listener in group.listeners {
            let accepting = Accepting {
                service: Arc::clone(&service),
                settings: Arc::clone(&settings),
                threads: Arc::clone(&threads),
                listener,
                group: number,
                connections: Arc::clone(&connections),
            };
            loops.push(Box::pin(accepting.run(closed.clone())));
        }
    }
    let mut accepting = std::pin::pin!(all(loops));
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
        for (connections, max) in &limits {
            let _all = connections.acquire_many(*max).await;
        }
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

type AcceptLoop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs all loops in this task, until the last one has ended.
async fn all(mut loops: Vec<AcceptLoop>) {
    poll_fn(|context| {
        loops.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if loops.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Waits until at least `count` signals have arrived.
async fn signals(stop: &mut watch::Receiver<u32>, count: u32) {
    if stop.wait_for(|&signals| signals >= count).await.is_err() {
        // The sender is dropped, so that no further signals arrive.
        std::future::pending::<()>().await;
    }
}

/// A listener with the resources of its connections.
struct Accepting<S> {
    service: Arc<S>,
    settings: Arc<Settings>,
    threads: Arc<ConnectionThreads>,
    listener: Listener,
    group: usize,
    connections: Arc<Semaphore>,
}

impl<S: Service> Accepting<S> {
    /// Accepts connections until `closed`. Then it accepts the connections that wait in the kernel, because
    /// their clients may have sent requests, and closes the listener.
    async fn run(self, closed: watch::Receiver<bool>) {
        let mut closing = closed.clone();
        let mut logged: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = self.listener.accept() => accepted,
                _ = closing.wait_for(|&closed| closed) => return,
            };
            match accepted {
                Ok(accepted) => {
                    // A listener acquires the permit after it accepts, so that an idle listener holds none.
                    let connections = Arc::clone(&self.connections);
                    let Ok(permit) = connections.acquire_owned().await else {
                        return;
                    };
                    let connection = Connection {
                        group: self.group,
                        listener: self.listener.address().clone(),
                        peer: accepted.peer(),
                        certificate: None,
                    };
                    let (service, settings) =
                        (Arc::clone(&self.service), Arc::clone(&self.settings));
                    let (tls, closed) = (self.listener.tls(), closed.clone());
                    service.open_connections().inc();
                    self.threads.spawn(async move {
                        serve_accepted(&service, &settings, accepted, tls, connection, closed)
                            .await;
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
}

/// Performs the TLS handshake, if the listener expects TLS, and serves the connection.
async fn serve_accepted<S: Service>(
    service: &Arc<S>,
    settings: &Settings,
    accepted: Accepted,
    tls: Option<Arc<Tls>>,
    mut connection: Connection,
    closed: watch::Receiver<bool>,
) {
    let mut scheme = Scheme::Expected;
    let socket = match (accepted.open(), tls) {
        (Err(error), _) => {
            tracing::warn!(%error, "cannot register a connection");
            return;
        }
        (Ok(Opened::Unix(stream)), _) => Socket::Unix(stream),
        (Ok(Opened::Tcp(stream)), None) => Socket::Tcp(stream),
        (Ok(Opened::Tcp(stream)), Some(tls)) => match tls.accept(stream).await {
            Handshake::Done(stream, certificate) => {
                connection.certificate = certificate;
                Socket::Tls(stream)
            }
            Handshake::PlainHttp(stream) => {
                service.count_handshake_failure(HandshakeFailure::PlainHttp);
                scheme = Scheme::PlainInsteadOfTls;
                Socket::Tcp(stream)
            }
            Handshake::Failed(why) => {
                service.count_handshake_failure(why);
                return;
            }
        },
    };
    let service = Arc::clone(service);
    serve_connection(service, settings, socket, &connection, scheme, closed).await;
}
