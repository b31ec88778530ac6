//! `bulkhead healthcheck`: asks a running server whether it is ready, for containers, whose images
//! have no curl.

use crate::config::HealthcheckSettings;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;

/// Status 0 where `/readyz` answers 200, else 1 with the reason on standard error.
pub(crate) fn run(settings: &HealthcheckSettings) -> ExitCode {
    match ask(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _nowhere_else = writeln!(std::io::stderr(), "not ready: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn ask(settings: &HealthcheckSettings) -> Result<(), String> {
    let address = reachable(settings.listen);
    let explain = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, settings.timeout).map_err(explain)?;
    stream
        .set_read_timeout(Some(settings.timeout))
        .map_err(explain)?;
    stream
        .set_write_timeout(Some(settings.timeout))
        .map_err(explain)?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .map_err(explain)?;
    let mut answer = String::new();
    // Far more than the answer has.
    stream
        .take(64 << 10)
        .read_to_string(&mut answer)
        .map_err(explain)?;
    let status = answer.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(format!("{address} answers {status:?}")),
    }
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
