//! What the command line asks a running server, without a runtime: one GET, one answer.

use crate::config::HealthcheckSettings;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What a server said.
pub(crate) struct Reply {
    /// The status line, without its end.
    pub(crate) status: String,
    /// What follows the headers.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn is_ok(&self) -> bool {
        let mut words = self.status.split(' ');
        matches!(
            (words.next(), words.next()),
            (Some("HTTP/1.1" | "HTTP/1.0"), Some("200"))
        )
    }
}

/// Asks for `path`, and listens until what came is enough, or all of it came. The answer may have
/// `octets_max` octets, and everything together takes the time of the settings at most. The error names
/// the address.
pub(crate) fn get(
    settings: &HealthcheckSettings,
    path: &str,
    octets_max: usize,
    enough: fn(&[u8]) -> bool,
) -> Result<Reply, String> {
    let address = reachable(settings.listen);
    let answer = exchange(address, path, settings.timeout, octets_max, enough);
    let answer = answer.map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("{address} does not answer within {:?}", settings.timeout)
        }
        _ => format!("{address}: {error}. Is a server running there? Another address is given with --listen (BULKHEAD_LISTEN)"),
    })?;
    let end = memchr::memmem::find(&answer, b"\r\n\r\n");
    let (head, body) = match end {
        Some(end) => (&answer[..end], &answer[end + 4..]),
        None => (&answer[..], &[][..]),
    };
    let line = head.split(|octet| *octet == b'\n').next().unwrap_or(head);
    Ok(Reply {
        status: String::from_utf8_lossy(line).trim_end().to_owned(),
        body: body.to_vec(),
    })
}

fn exchange(
    address: SocketAddr,
    path: &str,
    time: Duration,
    octets_max: usize,
    enough: fn(&[u8]) -> bool,
) -> std::io::Result<Vec<u8>> {
    let end = Instant::now() + time;
    let mut stream = TcpStream::connect_timeout(&address, time)?;
    stream.set_write_timeout(Some(time))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => return Ok(answer),
            octets => answer.extend_from_slice(&piece[..octets]),
        }
        if enough(&answer) {
            return Ok(answer);
        }
        if answer.len() > octets_max {
            return Err(std::io::Error::other(
                "what it answers is no answer of Bulkhead's",
            ));
        }
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
