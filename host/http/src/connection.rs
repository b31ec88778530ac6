//! Serves one connection.

use crate::body::discard_rest;
use crate::connection_io::ConnectionIo;
use crate::head_timer::{HeadStart, HeadTimer};
use crate::problem::Problem;
use crate::request::request_id;
use crate::response::{REQUEST_ID, Response};
use crate::service::{Connection, Service};
use crate::settings::Settings;
use crate::socket::Socket;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, EXPECT, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Size of hyper's buffer for the head of a request. It is larger than the limits in [`Settings`], so that
/// a head over these limits is rejected with a problem document. hyper rejects a head over the buffer's
/// size with a status only.
const HEAD_BUFFER_BYTES: usize = 512 << 10;

/// Time for the first request of a connection after the drain began, because the request may be on its way.
const FIRST_REQUEST_TIME: Duration = Duration::from_millis(500);

/// The state of a connection that its requests update.
#[derive(Default)]
struct Progress {
    first_request: Notify,
    /// Whether the client may send a body that the service has not read.
    unread_body: AtomicBool,
}

/// The requests that a connection accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// As the listener expects them.
    Expected,
    /// The client does not use TLS, and the listener expects it. Every request is rejected.
    PlainInsteadOfTls,
}

/// Serves one connection to its end. Once `closed` is true, the current request is the last one.
pub(crate) async fn serve_connection<S: Service>(
    service: Arc<S>,
    settings: &Settings,
    socket: Socket,
    from: &Connection,
    scheme: Scheme,
    mut closed: watch::Receiver<bool>,
) {
    let progress = Arc::new(Progress::default());
    let head_start = HeadStart::default();
    let mut connection = http1::Builder::new()
        .timer(HeadTimer::new(head_start.clone(), settings.headers_timeout))
        .header_read_timeout(settings.idle_timeout)
        .max_buf_size(HEAD_BUFFER_BYTES)
        .serve_connection(
            ConnectionIo::new(socket, settings.response_timeout, head_start),
            service_fn(|request| {
                let (service, progress) = (Arc::clone(&service), Arc::clone(&progress));
                call(service, progress, from, scheme, request)
            }),
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
        // The client closed the connection or did not send HTTP. Operators need not act.
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
        discard_rest(connection.into_parts().io.into_stream()).await;
    }
}

async fn call<S: Service>(
    service: Arc<S>,
    progress: Arc<Progress>,
    from: &Connection,
    scheme: Scheme,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    progress.first_request.notify_one();
    if scheme == Scheme::PlainInsteadOfTls {
        progress.unread_body.store(true, Ordering::Relaxed);
        let id = request_id(request.headers());
        let mut response = Problem::not_https().into_response(&id);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        return Ok(response);
    }
    let expects = request.headers().contains_key(EXPECT);
    let response = service.call(from, request).await;
    if expects && !response.status().is_success() {
        progress.unread_body.store(true, Ordering::Relaxed);
    }
    Ok(response)
}
