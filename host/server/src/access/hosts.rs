//! The values of `Host` that a server accepts.
//!
//! A web page can let its own name point to the visitor's loopback address (DNS rebinding). The browser then
//! sends the page's requests to a server on the visitor's machine, and lets the page read the responses. The
//! name of the page is in `Host`, by which the server recognises such requests.

use super::allowed_host::{AllowedHost, normal};
use super::problems;
use bulkhead_http::{Address, Problem};
use hyper::header::{HOST, HeaderValue};
use hyper::http::request::Parts;
use std::net::IpAddr;

/// Whether a listener on loopback accepts hosts on loopback only, if no hosts are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loopback {
    Guarded,
    Unguarded,
}

/// The hosts that requests may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hosts {
    allowed: Vec<AllowedHost>,
    loopback: Loopback,
}

impl Hosts {
    pub(super) fn new(allowed: &[AllowedHost], loopback: Loopback) -> Self {
        Self {
            allowed: allowed.to_vec(),
            loopback,
        }
    }

    /// Returns whether a setting lists this host, which has no port. A setting for all hosts does not list any.
    pub(super) fn lists(&self, host: &str) -> bool {
        let host = normal(without_port(host));
        self.allowed.iter().any(|allowed| allowed.is(&host))
    }

    /// Checks the host of a request that arrived at a listener. Hosts on loopback are always accepted,
    /// because a web page from elsewhere cannot have them.
    ///
    /// # Errors
    /// 421 if the host is not accepted.
    pub(super) fn check(&self, head: &Parts, listener: &Address) -> Result<(), Problem> {
        // Browsers cannot connect to a Unix socket.
        if matches!(listener, Address::Unix(_)) {
            return Ok(());
        }
        let is_guarded = self.loopback == Loopback::Guarded && listener.is_local();
        if self.allowed.is_empty() && !is_guarded {
            return Ok(());
        }
        // Browsers always send it. HTTP/1.0 does not require it.
        let Some(host) = named_host(head) else {
            return Ok(());
        };
        let host = std::str::from_utf8(host).ok().map(without_port).map(normal);
        let is_accepted = host.is_some_and(|host| {
            let mut allowed = self.allowed.iter();
            is_loopback(&host) || allowed.any(|allowed| allowed.allows(&host))
        });
        if is_accepted {
            Ok(())
        } else {
            Err(problems::misdirected())
        }
    }
}

/// Returns the host that a request names, with its port. The host of an absolute target takes precedence (RFC 9112
/// section 3.2.2).
pub(super) fn named_host(head: &Parts) -> Option<&[u8]> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str().as_bytes()),
        None => head.headers.get(HOST).map(HeaderValue::as_bytes),
    }
}

/// Returns a host without its port and without the brackets of IPv6.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(address, _)| address);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

/// RFC 6761 section 6.3 reserves `localhost` and the names below it.
fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    const LOOPBACK: &str = "127.0.0.1:8080";
    const OTHER: &str = "192.0.2.1:8080";

    fn accepts(hosts: &Hosts, target: &str, host: Option<&str>, listener: &str) -> bool {
        let mut request = Request::builder().uri(target);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        let request = request.body(()).expect("request should be valid");
        let listener: Address = listener.parse().expect("address should be valid");
        hosts.check(&request.into_parts().0, &listener).is_ok()
    }

    #[test]
    fn open_listener_on_loopback_accepts_hosts_on_loopback_only() {
        let hosts = Hosts::new(&[], Loopback::Guarded);
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "app.localhost:1",
            "127.0.0.1",
            "127.8.9.10:80",
            "[::1]:8080",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(accepts(&hosts, "/", Some(host), LOOPBACK), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "[::2]",
            "[::1",
            "0.0.0.0:8080",
            "localhost@evil.example",
        ] {
            assert!(!accepts(&hosts, "/", Some(host), LOOPBACK), "{host}");
            assert!(!accepts(&hosts, "/", Some(host), "[::1]:80"), "{host}");
            assert!(accepts(&hosts, "/", Some(host), OTHER), "{host}");
        }
        assert!(accepts(&hosts, "/", None, LOOPBACK));
        assert!(accepts(&hosts, "/", Some("evil.example"), "unix:/run/s"));
        assert!(!accepts(
            &hosts,
            "http://evil.example/",
            Some("localhost"),
            LOOPBACK
        ));
        assert!(accepts(
            &hosts,
            "http://localhost/",
            Some("evil.example"),
            LOOPBACK
        ));
    }

    #[test]
    fn allowed_hosts_apply_to_every_listener() {
        let parse = |text| AllowedHost::parse(text).expect("host should be valid");
        let hosts = Hosts::new(
            &[parse("Api.Example."), parse("[2001:DB8::1]")],
            Loopback::Unguarded,
        );
        for listener in [LOOPBACK, OTHER] {
            for host in [
                "api.example:443",
                "API.EXAMPLE",
                "[2001:db8::1]:80",
                "localhost",
            ] {
                assert!(accepts(&hosts, "/", Some(host), listener), "{host}");
            }
            for host in ["evil.example", "x.api.example", "2001:db8::1"] {
                assert!(!accepts(&hosts, "/", Some(host), listener), "{host}");
            }
        }
        let all = Hosts::new(&[parse("*")], Loopback::Guarded);
        assert!(accepts(&all, "/", Some("evil.example"), LOOPBACK));
    }
}
