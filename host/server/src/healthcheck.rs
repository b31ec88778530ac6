//! `bulkhead healthcheck`: asks a running server whether it is ready, for containers, whose images
//! have no curl.

use crate::config::HealthcheckSettings;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Instant;

/// More than any status line has.
const LINE_OCTETS_MAX: usize = 200;

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
    let end = Instant::now() + settings.timeout;
    let explain = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("{address} does not answer within {:?}", settings.timeout)
        }
        _ => format!("{address}: {error}"),
    };
    let mut stream = TcpStream::connect_timeout(&address, settings.timeout).map_err(explain)?;
    stream
        .set_write_timeout(Some(settings.timeout))
        .map_err(explain)?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .map_err(explain)?;
    let status = status_line(&mut stream, end).map_err(explain)?;
    let mut words = status.split(' ');
    match (words.next(), words.next()) {
        (Some("HTTP/1.1" | "HTTP/1.0"), Some("200")) => Ok(()),
        _ => Err(format!("{address} answers {status:?}")),
    }
}

/// The first line of what comes until `end`.
fn status_line(stream: &mut TcpStream, end: Instant) -> std::io::Result<String> {
    let mut line = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let mut piece = [0; 256];
        let octets = stream.read(&mut piece)?;
        line.extend_from_slice(&piece[..octets]);
        let whole = line.iter().position(|octet| *octet == b'\n');
        if whole.is_some() || octets == 0 || line.len() > LINE_OCTETS_MAX {
            line.truncate(whole.unwrap_or(LINE_OCTETS_MAX).min(line.len()));
            return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    }
}

/// A server that listens on all addresses is asked on this machine's own.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
