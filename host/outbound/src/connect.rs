//! Connects to the first of several addresses that accepts a connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use crate::reason::{NOT_IN_TIME, io_reason, tls_reason};
use crate::target::Target;

/// Maximum number of addresses of a name that are tried.
const ADDRESSES_TRIED_MAX: usize = 8;

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// Tries the addresses one after the other, including TLS. Each gets an equal part of the remaining
/// time, so that an address that does not respond leaves time for the others. The error is the
/// reason of the last failure.
pub(crate) async fn connect(
    addresses: Vec<IpAddr>,
    target: &Target,
    tls: &Arc<ClientConfig>,
    until: Instant,
) -> Result<Stream, &'static str> {
    let addresses = alternate(addresses);
    let mut reason = "the name has no address";
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let now = Instant::now();
        let part = until.saturating_duration_since(now) / u32::try_from(left).unwrap_or(u32::MAX);
        let address = SocketAddr::new(*address, target.port());
        match timeout_at(now + part, dial(address, target, tls)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(why)) => reason = why,
            Err(_) => reason = NOT_IN_TIME,
        }
    }
    Err(reason)
}

/// Alternates between IPv4 and IPv6 addresses, IPv4 first. If there is no route, the kernel usually
/// reports it at once. If it does not, IPv6 is usually the broken one.
fn alternate(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    let (mut v4, mut v6) = (v4.into_iter(), v6.into_iter());
    let mut turns = Vec::new();
    while turns.len() < ADDRESSES_TRIED_MAX {
        let before = turns.len();
        turns.extend(v4.next());
        turns.extend(v6.next());
        if turns.len() == before {
            break;
        }
    }
    turns
}

async fn dial(
    address: SocketAddr,
    target: &Target,
    tls: &Arc<ClientConfig>,
) -> Result<Stream, &'static str> {
    let prepared = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        // A closed connection must not send what is left in the kernel, even if the process ends.
        // Otherwise a cancelled request could arrive when the network is back, and count as a call
        // that the store does not expect. `TrackedStream::close` undoes this after a response.
        stream.set_zero_linger()?;
        Ok(stream)
    };
    let stream = prepared
        .await
        .map_err(|error: io::Error| io_reason(&error))?;
    if !target.is_https() {
        return Ok(Stream::Plain(stream));
    }
    let name = match target.host() {
        Host::Domain(name) => ServerName::try_from(name.clone())
            .map_err(|_| "TLS: certificates cannot contain this host name")?,
        Host::Ipv4(address) => ServerName::IpAddress(IpAddr::from(*address).into()),
        Host::Ipv6(address) => ServerName::IpAddress(IpAddr::from(*address).into()),
    };
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await
        .map_err(|error| {
            // The log has more details than the caller that has named the host may see.
            tracing::debug!(host = target.authority(), %error, "TLS handshake failed");
            tls_reason(&error)
        })?;
    Ok(Stream::Tls(Box::new(stream)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_alternate_between_families_up_to_limit() {
        let all: Vec<IpAddr> = ["::1", "::2", "::3", "1.0.0.1", "1.0.0.2"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let turns: Vec<_> = alternate(all).iter().map(ToString::to_string).collect();
        assert_eq!(turns, ["1.0.0.1", "::1", "1.0.0.2", "::2", "::3"]);
        let many = vec![IpAddr::from([1, 0, 0, 1]); 4000];
        assert_eq!(alternate(many).len(), ADDRESSES_TRIED_MAX);
        assert!(alternate(Vec::new()).is_empty());
    }
}
