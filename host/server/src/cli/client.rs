//! The command line's HTTP client: one GET and its response.

use super::block_on;
use crate::app::address;
use crate::config::units::duration_above_zero;
use bulkhead_http::{Setting, setting};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;

/// Maximum size of a body, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

const LISTEN: Setting = setting!(ServerSettings, listen);

/// Which server is called, and the time for it to answer.
#[derive(Debug, Clone, Args)]
pub(super) struct ServerSettings {
    /// What the server listens on.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "IP:PORT", value_parser = address)]
    pub(super) listen: SocketAddr,
    /// Time to connect and to answer.
    #[arg(
        long,
        env = "BULKHEAD_HEALTHCHECK_TIMEOUT",
        default_value = "2s",
        value_parser = duration_above_zero
    )]
    pub(super) timeout: Duration,
}

/// Why there is no good response. The text names the address.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    #[error(transparent)]
    Runtime(#[from] std::io::Error),
    #[error("{0} does not answer within {1:?}")]
    TimedOut(SocketAddr, Duration),
    #[error("{0}: {1}. Is a server running there? Another address is given with {LISTEN}")]
    Failed(SocketAddr, Box<dyn std::error::Error + Send + Sync>),
    #[error(
        "{0} answers {1}: it is shutting down, or is not Bulkhead. Try again, or name another address with \
         {LISTEN}"
    )]
    Status(SocketAddr, StatusCode),
    #[error("{0} does not answer as Bulkhead does")]
    NotBulkhead(SocketAddr),
}

/// The body of the response to `GET path`, if its status is 200. Everything together takes at most the time of
/// the settings.
pub(super) fn get(server: &ServerSettings, path: &str) -> Result<Bytes, ClientError> {
    let (address, time) = (reachable(server.listen), server.timeout);
    let response = block_on(async { tokio::time::timeout(time, exchange(address, path)).await })?;
    let response = response.map_err(|_elapsed| ClientError::TimedOut(address, time))?;
    match response.map_err(|error| ClientError::Failed(address, error))? {
        (StatusCode::OK, body) => Ok(body),
        (status, _) => Err(ClientError::Status(address, status)),
    }
}

async fn exchange(
    address: SocketAddr,
    path: &str,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = http1::handshake(stream).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, "localhost");
    let response = sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX);
    Ok((status, body.collect().await?.to_bytes()))
}

/// A server that listens on all addresses is asked on this machine's own.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
