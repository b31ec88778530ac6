//! Connections, and the end of all.

use crate::app::App;
use crate::io::IoThreads;
use crate::wire::{Answers, Follows, Refusals, Wire};
use hyper::body::Incoming;
use hyper::header::EXPECT;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioTimer;
use std::cell::Cell;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};

/// Octets hyper buffers of a request head. Above our own limits, so that it is us who refuse, with
/// a problem document; a head beyond even this is refused by hyper (see `wire`).
const HEAD_BUFFER_OCTETS: usize = 512 << 10;
/// hyper's own limit. To set it, even to the same number, costs two allocations of kilobytes a
/// request: only the default is parsed on the stack.
pub(crate) const HEADERS_MAX: usize = 100;

/// Pause after a failure to accept, which is most often a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Such failures are logged this often at most.
const ACCEPT_LOG_PAUSE: Duration = Duration::from_secs(10);

/// What a connection that has not asked anything yet gets to do so, once the server drains: its
/// request may be under way.
const FIRST_REQUEST_TIME: Duration = Duration::from_millis(500);

/// Serves until told to stop; returns when everything that ran has ended, or its time has.
///
/// `stop` carries how many signals came: the first drains, the second cuts.
pub(crate) async fn serve(
    app: Arc<App>,
    threads: IoThreads,
    listener: TcpListener,
    mut stop: watch::Receiver<u32>,
) -> End {
    let http = &app.settings.http;
    let (drain_delay, drain_timeout) = (http.drain_delay, http.drain_timeout);
    let all = http.connections_max;
    let connections = Arc::new(Semaphore::new(all as usize));
    let (close, closed) = watch::channel(false);
    let mut accepting = std::pin::pin!(accept(&app, &threads, listener, &connections, closed));
    tokio::select! {
        () = accepting.as_mut() => {}
        () = signals(&mut stop, 1) => {}
    }
    app.draining.store(true, Ordering::Relaxed);
    tracing::info!(delay_ms = millis(drain_delay), "draining");
    tokio::select! {
        () = accepting.as_mut() => {}
        () = tokio::time::sleep(drain_delay) => {}
        () = signals(&mut stop, 2) => {}
    }
    let _nobody = close.send(true);
    let open = || app.metrics.connections.get();
    tracing::info!(connections = open(), "waiting for what runs");
    let answered = async {
        accepting.await;
        let _all = connections.acquire_many(all).await;
    };
    // Both at once, so that there is one time for all: whoever asks for a signature meanwhile is told to
    // come back. A call or a webhook that was cut would have an outcome that nobody knows.
    let relay_ended = Cell::new(false);
    let end_relay = async || {
        relay_ended.set(false);
        if let Some(signing) = &app.signing {
            signing.end().await;
        }
        relay_ended.set(true);
    };
    let drained = async {
        tokio::join!(answered, end_relay());
        // Who was answered last may have asked for a check, which is a call that outlasts its answer.
        end_relay().await;
    };
    let why = tokio::select! {
        biased;
        () = drained => {
            tracing::info!("drained");
            return End::Drained;
        }
        () = tokio::time::sleep(drain_timeout) => "time-out (--drain-timeout)",
        () = signals(&mut stop, 2) => "second signal",
    };
    tracing::warn!(
        connections = open(),
        relay.ended = relay_ended.get(),
        why,
        "cutting what still runs"
    );
    End::Cut
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything that ran was answered.
    Drained,
    /// Something may not have been.
    Cut,
}

/// Waits until that many signals came.
async fn signals(stop: &mut watch::Receiver<u32>, count: u32) {
    if stop.wait_for(|&signals| signals >= count).await.is_err() {
        // Nobody can send any more.
        std::future::pending::<()>().await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Accepts until `closed`, and then what the kernel has accepted already: those clients have sent
/// their requests, perhaps. Closes the listener.
async fn accept(
    app: &Arc<App>,
    threads: &IoThreads,
    listener: TcpListener,
    connections: &Arc<Semaphore>,
    closed: watch::Receiver<bool>,
) {
    let mut told = closed.clone();
    loop {
        let Ok(permit) = Arc::clone(connections).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = told.wait_for(|&closed| closed) => return,
        };
        // Taken off this thread's watch, to be watched by another.
        match accepted.and_then(|(stream, _peer)| stream.into_std()) {
            Ok(stream) => {
                let (app, closed) = (Arc::clone(app), closed.clone());
                app.metrics.connections.inc();
                threads.spawn(async move {
                    match TcpStream::from_std(stream) {
                        Ok(stream) => connection(&app, stream, closed).await,
                        Err(error) => tracing::warn!(%error, "cannot watch a connection"),
                    }
                    app.metrics.connections.dec();
                    drop(permit);
                });
            }
            Err(error) => {
                if app.accept_log.now(ACCEPT_LOG_PAUSE) {
                    tracing::warn!(%error, "cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(app: &Arc<App>, stream: TcpStream, mut closed: watch::Receiver<bool>) {
    let _slower_at_worst = stream.set_nodelay(true);
    let headers_timeout = app.settings.http.headers_timeout;
    let answers = Answers::default();
    let http = &app.settings.http;
    let refusals = Refusals {
        target_octets: http.target_octets,
        headers_octets: http.headers_octets,
        metrics: Arc::clone(&app.metrics),
    };
    let wire = Wire::new(stream, answers.clone(), refusals, http.answer_timeout);
    let serving = Arc::clone(app);
    let first_request = Arc::new(Notify::new());
    let asked = Arc::clone(&first_request);
    let service = service_fn(move |request: Request<Incoming>| {
        let (app, answers) = (Arc::clone(&serving), answers.clone());
        first_request.notify_one();
        let expects = request.headers().contains_key(EXPECT);
        async move {
            let follows = match *request.method() {
                Method::HEAD => Follows::Nothing,
                _ => Follows::Body,
            };
            let answer = app.answer(request).await;
            answers.given(follows);
            if expects && !answer.status().is_success() {
                answers.read_on();
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(headers_timeout)
        .max_buf_size(HEAD_BUFFER_OCTETS)
        .serve_connection(wire, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { drop(closed.wait_for(|&closed| closed).await) } => {
            let time = tokio::time::timeout(FIRST_REQUEST_TIME, asked.notified());
            tokio::select! {
                ended = connection.as_mut() => return log(ended),
                _ = time => {}
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    log(ended);
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        // Clients that hang up or talk nonsense; nothing for an operator to act on.
        tracing::debug!(%error, "connection ended early");
    }
}
