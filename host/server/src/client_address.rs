//! The address of a client, also behind proxies.

use hyper::HeaderMap;
use ipnet::IpNet;
use std::fmt::{Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use thiserror::Error;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address or the network of proxies whose `X-Forwarded-For` is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrustedProxy(IpNet);

impl TrustedProxy {
    fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

/// The text is not an address or a network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum TrustedProxyError {
    #[error("give an address (127.0.0.1, ::1) or a network (10.0.0.0/8)")]
    Malformed,
    #[error("the address has bits outside the mask: give {0}")]
    Bits(IpNet),
}

impl FromStr for TrustedProxy {
    type Err = TrustedProxyError;

    fn from_str(text: &str) -> Result<Self, TrustedProxyError> {
        let text = text.trim();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_canonical().into()));
        }
        let network: IpNet = text.parse().map_err(|_| TrustedProxyError::Malformed)?;
        if network.addr() != network.trunc().addr() {
            return Err(TrustedProxyError::Bits(network.trunc()));
        }
        Ok(Self(network))
    }
}

/// The part of a client's address that one client cannot vary: an IPv4 address, or the first 64 bits of an IPv6
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ClientNetwork {
    V4(Ipv4Addr),
    /// The address with its last 64 bits set to zero.
    V6(Ipv6Addr),
    /// A client of a Unix socket.
    Unix,
}

impl ClientNetwork {
    /// Returns the network of an address, which is `None` for a client of a Unix socket.
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Unix,
            Some(IpAddr::V4(address)) => Self::V4(address),
            Some(IpAddr::V6(address)) => {
                Self::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
            }
        }
    }
}

impl Display for ClientNetwork {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(network) => write!(f, "{network}/64"),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Returns the address of the client. `peer` is the other end of the connection.
///
/// Each proxy appends the address of its own peer to `X-Forwarded-For`. Only entries that a trusted proxy has
/// written are used: the entries are read from the right, as long as the address before is trusted. A client
/// can write any other entries itself. An entry that is not an address ends the search.
pub(crate) fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[TrustedProxy],
) -> IpAddr {
    let mut client = peer.to_canonical();
    let values = headers.get_all(FORWARDED_FOR).iter().rev();
    let mut entries = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    while trusted.iter().any(|proxy| proxy.contains(client)) {
        let Some(next) = entries.next().and_then(parse_entry) else {
            break;
        };
        client = next;
    }
    client
}

/// Parses an address. Some proxies append the port.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|entry| entry.ip());
    address
        .or_else(with_port)
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn client(peer: &str, headers: &[&str], trusted: &str) -> String {
        let name = HeaderName::from_static(FORWARDED_FOR);
        let mut map = HeaderMap::new();
        for value in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("header should be valid");
            map.append(name.clone(), value);
        }
        let trusted = trusted.split(',').filter(|text| !text.is_empty());
        let trusted: Vec<TrustedProxy> = trusted
            .map(|text| text.parse().expect("proxy should be valid"))
            .collect();
        let peer = peer.parse().expect("peer should be an address");
        client_address(peer, &map, &trusted).to_string()
    }

    #[test]
    fn header_of_untrusted_peer_is_ignored() {
        assert_eq!(client("9.9.9.9", &["1.1.1.1"], ""), "9.9.9.9");
        assert_eq!(client("9.9.9.9", &["1.1.1.1"], "10.0.0.0/8"), "9.9.9.9");
        assert_eq!(client("10.0.0.1", &[], "10.0.0.0/8"), "10.0.0.1");
    }

    #[test]
    fn first_untrusted_address_from_the_right_is_the_client() {
        let trusted = "10.0.0.0/8,::1,127.0.0.1";
        for (headers, expected) in [
            (&["1.1.1.1"][..], "1.1.1.1"),
            (&["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
            (&["6.6.6.6, 1.1.1.1, 10.0.0.2,10.0.0.3"], "1.1.1.1"),
            (&["6.6.6.6", "1.1.1.1", "10.0.0.2"], "1.1.1.1"),
            (&["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            (&["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["6.6.6.6, "], "10.0.0.1"),
            (&["1.1.1.1:4711"], "1.1.1.1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["2001:db8::1, ::1"], "2001:db8::1"),
            (&["1.1.1.1, ::ffff:10.0.0.2"], "1.1.1.1"),
            (&["\u{e4}"], "10.0.0.1"),
        ] {
            assert_eq!(
                client("10.0.0.1", headers, trusted),
                expected,
                "{headers:?}"
            );
            assert_eq!(client("::ffff:10.0.0.1", headers, trusted), expected);
        }
    }

    #[test]
    fn client_network_has_64_bits_of_ipv6() {
        let network = |address: &str| {
            let address = address.parse().expect("address should be valid");
            ClientNetwork::of(Some(address))
        };
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1:2:3"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_eq!(network("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(ClientNetwork::of(None).to_string(), "unix");
    }

    #[test]
    fn trusted_proxies_are_addresses_and_networks() {
        for text in ["127.0.0.1", "::1", " 10.0.0.0/8 ", "fd00::/8"] {
            assert!(text.parse::<TrustedProxy>().is_ok(), "{text}");
        }
        for text in ["", "proxy", "10.0.0.0/33", "10.0.0.1:80", "*"] {
            let error = text.parse::<TrustedProxy>();
            assert_eq!(error, Err(TrustedProxyError::Malformed), "{text}");
        }
        let bits = "10.1.2.3/8".parse::<TrustedProxy>();
        let network = "10.0.0.0/8".parse().expect("network should be valid");
        assert_eq!(bits, Err(TrustedProxyError::Bits(network)));
    }
}
