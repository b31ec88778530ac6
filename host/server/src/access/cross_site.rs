//! Recognises the requests that pages of other origins make in a browser.
//!
//! A page can make a browser send requests to every server that the browser reaches, such as one on the visitor's
//! machine or behind a client certificate. It cannot read the responses, because they do not have the headers of
//! CORS, but such requests would have effects and use up limits.

use super::hosts::{Hosts, named_host};
use hyper::header::ORIGIN;
use hyper::http::request::Parts;
use hyper::http::uri::Authority;

/// The header in which browsers name the relation of origins. They send it to servers on loopback and over TLS. Pages cannot set it (Fetch Metadata, section 2).
const SITE: &str = "sec-fetch-site";

/// Returns whether a browser marks the request as one of another origin. A value that is not known counts as
/// another origin.
///
/// Without `Sec-Fetch-Site`, the host in `Origin` decides. It must be the host of the request, because proxies may
/// change the scheme, or one that `hosts` lists by name, because proxies may change the host.
pub(super) fn is_cross_site(head: &Parts, hosts: &Hosts) -> bool {
    let mut sites = head.headers.get_all(SITE).iter().peekable();
    if sites.peek().is_some() {
        return !sites.all(|site| site == "same-origin" || site == "none");
    }
    let mut origins = head.headers.get_all(ORIGIN).iter();
    !origins.all(|origin| {
        let authority = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://")?.1.parse::<Authority>().ok());
        authority.is_some_and(|authority| {
            let own = named_host(head);
            let is_own =
                own.is_some_and(|own| own.eq_ignore_ascii_case(authority.as_str().as_bytes()));
            is_own || hosts.lists(authority.host())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::allowed_host::AllowedHost;
    use super::super::hosts::Loopback;
    use super::*;
    use hyper::Request;
    use hyper::header::HOST;

    fn is_rejected(headers: &[(&str, &str)], allowed: &[&str]) -> bool {
        let allowed: Vec<_> = allowed
            .iter()
            .map(|host| AllowedHost::parse(host).expect("host should be valid"))
            .collect();
        let mut request = Request::builder().header(HOST, "Decrypt.example:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("request should be valid");
        is_cross_site(
            &request.into_parts().0,
            &Hosts::new(&allowed, Loopback::Guarded),
        )
    }

    #[test]
    fn fetch_metadata_decides_before_the_origin() {
        let own = ("origin", "http://decrypt.example:8080");
        let other = ("origin", "https://evil.example");
        for site in ["same-origin", "none"] {
            assert!(!is_rejected(&[(SITE, site)], &[]), "{site}");
            assert!(!is_rejected(&[(SITE, site), other], &[]), "{site}");
        }
        for site in ["cross-site", "same-site", "", "Same-Origin ", "new-value"] {
            assert!(is_rejected(&[(SITE, site)], &[]), "{site}");
            assert!(is_rejected(&[(SITE, site), own], &[]), "{site}");
        }
        let twice = [(SITE, "same-origin"), (SITE, "cross-site")];
        assert!(is_rejected(&twice, &[]));
    }

    #[test]
    fn origin_must_have_the_host_of_the_request_or_a_listed_one() {
        assert!(!is_rejected(&[], &[]));
        for origin in [
            "http://decrypt.example:8080",
            "https://DECRYPT.example:8080",
        ] {
            assert!(!is_rejected(&[("origin", origin)], &[]), "{origin}");
        }
        for origin in [
            "http://decrypt.example",
            "http://decrypt.example:80800",
            "http://evil.example:8080",
            "http://evil.example/decrypt.example:8080",
            "http://decrypt.example:8080@evil.example",
            "null",
            "",
            "decrypt.example:8080",
            "https://public.example",
        ] {
            assert!(is_rejected(&[("origin", origin)], &[]), "{origin}");
            // All hosts are accepted in `Host`, but not all origins.
            assert!(is_rejected(&[("origin", origin)], &["*"]), "{origin}");
        }
        let public = ("origin", "https://Public.example:8443");
        assert!(!is_rejected(&[public], &["public.example"]));
        let user = ("origin", "https://public.example:8443@evil.example");
        assert!(is_rejected(&[user], &["public.example"]));
        let own = ("origin", "http://decrypt.example:8080");
        let two = [own, ("origin", "http://evil.example")];
        assert!(is_rejected(&two, &[]));
    }
}
