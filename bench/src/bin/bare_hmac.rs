//! The lower bound for `/token`: hyper and a native HMAC, without limits, metrics, request ids or a
//! sandbox. The argument is the address to listen on.

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;

/// The same number as in the server under test.
const IO_THREADS: usize = 2;

fn main() -> std::io::Result<()> {
    let address = std::env::args()
        .nth(1)
        .expect("first argument should be the address to listen on");
    let secret: Arc<[u8]> = std::env::var("SECRET")
        .expect("SECRET should be set")
        .into_bytes()
        .into();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .enable_all()
        .build()?
        .block_on(async move {
            let listener = tokio::net::TcpListener::bind(address).await?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let secret = Arc::clone(&secret);
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(request, &secret));
                    let _hung_up = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        })
}

async fn answer(
    request: Request<Incoming>,
    secret: &[u8],
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let mut mac =
        Hmac::<sha2::Sha256>::new_from_slice(secret).expect("HMAC accepts keys of any length");
    mac.update(&body);
    let token = base16ct::lower::encode_string(&mac.finalize().into_bytes());
    let answer = format!(r#"{{"algorithm":"HMAC-SHA256","token":"{token}"}}"#);
    let mut response = Response::new(Full::from(answer));
    response.headers_mut().insert(
        "content-type",
        hyper::header::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}
