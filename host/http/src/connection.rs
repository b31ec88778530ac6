//! One connection.

use crate::body::discard_rest;
use crate::connection_io::ConnectionIo;
use crate::head_timer::{HeadStart, HeadTimer};
use crate::response::Response;
use crate::service::Service;
use crate::settings::Settings;
use hyper::body::Incoming;
use hyper::header::EXPECT;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

/// Bytes that hyper buffers of a request head. This is more than the limits in [`Settings`] allow, so that
/// these reject a large head, with a problem document. hyper rejects a head that is even larger than this,
/// with a bare status.
const HEAD_BUFFER_BYTES: usize = 512 << 10;

/// When the server drains, a new connection has this long to send its first request, which may be under way.
const FIRST_REQUEST_TIME: Duration = Duration::from_millis(500);

/// What the requests of a connection leave for its end.
#[derive(Default)]
struct Progress {
    first_request: Notify,
    /// Whether a body may come that nobody reads.
    unread_body: AtomicBool,
}

/// Serves one connection to its end. `closed` becomes true when the server drains: then the request at hand
/// is the last one.
pub(crate) async fn serve_connection<S: Service>(
    service: Arc<S>,
    settings: &Settings,
    stream: TcpStream,
    peer: IpAddr,
    mut closed: watch::Receiver<bool>,
) {
    let _slower_at_worst = stream.set_nodelay(true);
    let progress = Arc::new(Progress::default());
    let head_start = HeadStart::default();
    let mut connection = http1::Builder::new()
        .timer(HeadTimer::new(head_start.clone(), settings.headers_timeout))
        .header_read_timeout(settings.idle_timeout)
        .max_buf_size(HEAD_BUFFER_BYTES)
        .serve_connection(
            ConnectionIo::new(stream, settings.answer_timeout, head_start),
            service_fn(|request| call(Arc::clone(&service), Arc::clone(&progress), request, peer)),
        );
    let is_closed = async { drop(closed.wait_for(|&closed| closed).await) };
    let mut ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = is_closed => None,
    };
    if ended.is_none() {
        let first_request = progress.first_request.notified();
        ended = tokio::select! {
            ended = &mut connection => Some(ended),
            _ = tokio::time::timeout(FIRST_REQUEST_TIME, first_request) => None,
        };
    }
    let ended = if let Some(ended) = ended {
        ended
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        (&mut connection).await
    };
    let mut is_unread = progress.unread_body.load(Ordering::Relaxed);
    if let Err(error) = ended {
        // The client closed the connection or did not send HTTP. An operator cannot act on it.
        tracing::debug!(%error, "connection ended early");
        if error.is_parse() {
            is_unread = true;
            service.count_unparsable(if error.is_parse_too_large() {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            } else {
                StatusCode::BAD_REQUEST
            });
        }
    }
    if is_unread {
        discard_rest(&connection.into_parts().io.into_stream()).await;
    }
}

async fn call<S: Service>(
    service: Arc<S>,
    progress: Arc<Progress>,
    request: Request<Incoming>,
    peer: IpAddr,
) -> Result<Response, Infallible> {
    progress.first_request.notify_one();
    let expects = request.headers().contains_key(EXPECT);
    let response = service.call(request, peer).await;
    if expects && !response.status().is_success() {
        progress.unread_body.store(true, Ordering::Relaxed);
    }
    Ok(response)
}
