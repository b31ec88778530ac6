//! From addresses to a connection on which a request can be sent.

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

/// How many addresses of one name are tried.
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

/// Tries the addresses in turn, TLS included. Each gets an equal part of the time that is left, so
/// that one that is silent does not take it all. The error is a reason to be shown: the last one.
pub(crate) async fn connect(
    addresses: Vec<IpAddr>,
    target: &Target,
    tls: &Arc<ClientConfig>,
    until: Instant,
) -> Result<Stream, &'static str> {
    let addresses = in_turn(addresses);
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

/// The kinds of address by turns, IPv4 first: where there is no way to the one or the other the
/// kernel mostly says so at once, and where it does not, it is IPv6 that is broken.
fn in_turn(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
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
        // Closed by whatever way, be it the end of this process, nothing that waits in the kernel is
        // sent any more: a request that was given up would otherwise arrive whenever the network is
        // back, and count as a call that nobody expects. Undone once there is an answer.
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
            .map_err(|_| "TLS: no certificate can have such a name")?,
        Host::Ipv4(address) => ServerName::IpAddress(IpAddr::from(*address).into()),
        Host::Ipv6(address) => ServerName::IpAddress(IpAddr::from(*address).into()),
    };
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await
        .map_err(|error| {
            // More than whoever named the host may see, for whoever looks after this server.
            tracing::debug!(host = target.authority(), %error, "no TLS");
            tls_reason(&error)
        })?;
    Ok(Stream::Tls(Box::new(stream)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_address_take_turns_up_to_a_limit() {
        let all: Vec<IpAddr> = ["::1", "::2", "::3", "1.0.0.1", "1.0.0.2"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let turns: Vec<_> = in_turn(all).iter().map(ToString::to_string).collect();
        assert_eq!(turns, ["1.0.0.1", "::1", "1.0.0.2", "::2", "::3"]);
        let many = vec![IpAddr::from([1, 0, 0, 1]); 4000];
        assert_eq!(in_turn(many).len(), ADDRESSES_TRIED_MAX);
        assert!(in_turn(Vec::new()).is_empty());
    }
}
