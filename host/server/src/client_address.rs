//! The address of a client, also behind proxies.

use hyper::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
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
