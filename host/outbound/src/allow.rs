//! Hosts that callbacks may reach although their addresses are not public.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use url::Host;

/// A host or a network that callbacks may reach although its addresses are not public.
///
/// | text | allows |
/// |---|---|
/// | `10.0.0.0/8`, `fd00::/8` | the addresses of this network, also if a name resolves to them |
/// | `127.0.0.1`, `::1`, `[::1]` | this address, also if a name resolves to it |
/// | `receiver` | this name, whatever its addresses are |
/// | `*.internal.example` | names with this end, whatever their addresses are, but not `internal.example` itself |
///
/// Names, IPv4 addresses and IPv6 addresses in brackets may have a port (`receiver:8080`). They
/// then allow only that port. `localhost` and its subdomains are allowed only if the name itself is
/// listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    what: What,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Network(IpNet),
    Name(String),
    /// The end of the names, with the leading dot.
    Below(String),
}

impl AllowRule {
    pub(crate) fn name(&self, name: &str, port: u16) -> bool {
        let matches = match &self.what {
            What::Network(_) => false,
            What::Name(allowed) => name == allowed,
            What::Below(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
        };
        matches && self.port(port)
    }

    pub(crate) fn address(&self, address: IpAddr, port: u16) -> bool {
        match &self.what {
            What::Network(network) => network.contains(&address) && self.port(port),
            What::Name(_) | What::Below(_) => false,
        }
    }

    fn port(&self, port: u16) -> bool {
        self.port.is_none_or(|allowed| allowed == port)
    }
}

/// The reason why a text is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowRuleError {
    /// The text is empty.
    #[error("give a host, an address or a network")]
    Empty,
    /// The text has a slash, but is not a network.
    #[error("give a network as in 10.0.0.0/8 or fd00::/8")]
    Network,
    /// The address has bits outside its mask. The network that was probably meant is given.
    #[error("the address has bits outside the mask: give {0}")]
    Bits(IpNet),
    /// The port is not a number from 1 to 65535.
    #[error("give a port from 1 to 65535")]
    Port,
    /// The text is neither an address nor a name.
    #[error(
        "give an address (127.0.0.1, ::1), a network (10.0.0.0/8), a name (receiver) \
         or the end of names (*.internal.example)"
    )]
    Host,
}

impl FromStr for AllowRule {
    type Err = AllowRuleError;

    fn from_str(text: &str) -> Result<Self, AllowRuleError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(AllowRuleError::Empty);
        }
        if text.contains('/') {
            let network: IpNet = text.parse().map_err(|_| AllowRuleError::Network)?;
            if network.addr() != network.trunc().addr() {
                return Err(AllowRuleError::Bits(network.trunc()));
            }
            return Ok(Self {
                what: What::Network(network),
                port: None,
            });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self {
                what: What::Network(address.into()),
                port: None,
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            // In brackets, the last colon may belong to the address.
            Some((host, port)) if !port.ends_with(']') => (host, Some(parse_port(port)?)),
            _ => (text, None),
        };
        let what = match host.strip_prefix("*.") {
            Some(suffix) => What::Below(format!(".{}", parse_name(suffix)?)),
            None => parse_host(host)?,
        };
        Ok(Self { what, port })
    }
}

fn parse_port(text: &str) -> Result<u16, AllowRuleError> {
    match text.parse() {
        Ok(0) | Err(_) => Err(AllowRuleError::Port),
        Ok(port) => Ok(port),
    }
}

fn parse_host(text: &str) -> Result<What, AllowRuleError> {
    if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
        return Ok(What::Network(IpAddr::from(address).into()));
    }
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = bracketed {
        let address: std::net::Ipv6Addr = address.parse().map_err(|_| AllowRuleError::Host)?;
        return Ok(What::Network(IpAddr::from(address).into()));
    }
    parse_name(text).map(What::Name)
}

/// Parses a name into the form of names in URLs.
fn parse_name(text: &str) -> Result<String, AllowRuleError> {
    match Host::parse(text) {
        Ok(Host::Domain(name)) if crate::target::is_name(&name) => Ok(name),
        // An address in a spelling that only URLs allow, such as 127.1, is probably a mistake.
        Ok(_) | Err(_) => Err(AllowRuleError::Host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> AllowRule {
        text.parse()
            .unwrap_or_else(|error| panic!("{text} {error}"))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn network_allows_its_addresses_at_any_port() {
        let private = allowed("10.0.0.0/8");
        assert!(private.address(address("10.0.0.0"), 1));
        assert!(private.address(address("10.255.255.255"), 65535));
        assert!(!private.address(address("11.0.0.0"), 80));
        assert!(!private.address(address("::ffff:10.0.0.1"), 80));
        assert!(!private.name("10.0.0.0", 80));
        assert!(allowed(" fd00::/8 ").address(address("fd00::1"), 80));
    }

    #[test]
    fn address_allows_only_itself() {
        for text in ["::1", "[::1]"] {
            assert!(allowed(text).address(address("::1"), 80), "{text}");
            assert!(!allowed(text).address(address("::2"), 80), "{text}");
        }
        assert!(allowed("127.0.0.1").address(address("127.0.0.1"), 80));
        assert!(!allowed("127.0.0.1").address(address("127.0.0.2"), 80));
    }

    #[test]
    fn port_allows_only_itself() {
        for (text, host) in [("127.0.0.1:8080", "127.0.0.1"), ("[::1]:8080", "::1")] {
            assert!(allowed(text).address(address(host), 8080), "{text}");
            assert!(!allowed(text).address(address(host), 80), "{text}");
        }
        assert!(allowed("receiver:8080").name("receiver", 8080));
        assert!(!allowed("receiver:8080").name("receiver", 80));
        assert!(!allowed("*.example:8080").name("a.example", 80));
    }

    #[test]
    fn name_matches_as_whole_or_by_its_end() {
        let exact = allowed("Receiver");
        assert!(exact.name("receiver", 80));
        assert!(!exact.name("receiver2", 80) && !exact.name("a.receiver", 80));
        let below = allowed("*.internal.example");
        assert!(below.name("a.internal.example", 80) && below.name("a.b.internal.example", 80));
        for other in [
            "internal.example",
            ".internal.example",
            "ainternal.example",
            "a.internal.example.com",
        ] {
            assert!(!below.name(other, 80), "{other}");
        }
        // As in URLs, names are compared in their ASCII form.
        assert!(allowed("bücher.example").name("xn--bcher-kva.example", 80));
    }

    #[test]
    fn invalid_text_is_rejected() {
        let network = |text: &str| text.parse().unwrap();
        for (text, expected) in [
            ("", AllowRuleError::Empty),
            ("  ", AllowRuleError::Empty),
            ("10.0.0.0/33", AllowRuleError::Network),
            ("receiver/8", AllowRuleError::Network),
            ("http://receiver", AllowRuleError::Network),
            ("10.1.2.3/8", AllowRuleError::Bits(network("10.0.0.0/8"))),
            ("receiver:0", AllowRuleError::Port),
            ("receiver:65536", AllowRuleError::Port),
            ("receiver:", AllowRuleError::Port),
            ("*", AllowRuleError::Host),
            ("*.", AllowRuleError::Host),
            ("*.*.example", AllowRuleError::Host),
            ("a.*.example", AllowRuleError::Host),
            ("*.10.0.0.1", AllowRuleError::Host),
            ("receiver.", AllowRuleError::Host),
            ("127.1", AllowRuleError::Host),
            ("0x7f000001", AllowRuleError::Host),
            ("[fe80::1%eth0]", AllowRuleError::Host),
            ("two words", AllowRuleError::Host),
        ] {
            assert_eq!(text.parse::<AllowRule>(), Err(expected), "{text:?}");
        }
    }
}
