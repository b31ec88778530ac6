//! Checks of the head of a request.

use crate::problem::Problem;
use crate::response::REQUEST_ID;
use crate::settings::Settings;
use hyper::HeaderMap;
use hyper::Version;
use hyper::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use std::net::Ipv6Addr;

/// Maximum length of a request id from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Returns the id of a request: the value of [`REQUEST_ID`] if it has 1 to 128 letters, digits and
/// characters of `-_.:/+=`, otherwise 128 random bits in hexadecimal.
pub fn request_id(headers: &HeaderMap) -> String {
    let is_valid = |id: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"-_.:/+=".contains(&c))
    };
    let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    id.filter(is_valid)
        .map_or_else(|| uuid::Uuid::new_v4().simple().to_string(), str::to_owned)
}

/// Checks the parts of a request that do not depend on the resource: sizes, `Host` and transfer codings.
///
/// # Errors
/// A [`Problem`] with status 414 or 431 if the target or the headers are too large, 400 if there is not
/// exactly one `Host` (HTTP/1.0 allows none), or 501 if a transfer coding other than `chunked` is used.
pub fn check_head(head: &Parts, settings: &Settings) -> Result<(), Problem> {
    let authority = head.uri.authority().map_or(0, |it| it.as_str().len());
    let path = head.uri.path_and_query().map_or(0, |it| it.as_str().len());
    if authority + path > settings.target_max.as_usize() {
        return Err(Problem::target_too_long(settings.target_max));
    }
    // The size of a header in the request: name, colon, space, value and line end.
    let headers: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if headers > settings.headers_max.as_usize() {
        return Err(Problem::headers_too_large(settings.headers_max));
    }
    // RFC 9112 section 3.2.
    let hosts = head.headers.get_all(HOST).iter().count();
    if hosts > 1 || (head.version == Version::HTTP_11 && hosts == 0) {
        return Err(Problem::not_one_host());
    }
    let host = head.headers.get(HOST).map(HeaderValue::as_bytes);
    let target = head.uri.authority().map(|it| it.as_str().as_bytes());
    if !host.is_none_or(is_host) || !target.is_none_or(is_host) {
        return Err(Problem::invalid_host());
    }
    // RFC 9112 section 6.1.
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(Problem::unknown_transfer_coding());
    }
    Ok(())
}

/// Returns whether `value` is a host with an optional port (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
/// An empty host is valid. A user name before the host is not.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = if let Some(rest) = value.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|&byte| byte == b']') else {
            return false;
        };
        let (address, after) = (&rest[..end], &rest[end + 1..]);
        let text = std::str::from_utf8(address).ok();
        if text
            .and_then(|text| text.parse::<Ipv6Addr>().ok())
            .is_none()
        {
            return false;
        }
        match after.split_first() {
            None => (&[][..], &[][..]),
            Some((b':', port)) => (&[][..], port),
            Some(_) => return false,
        }
    } else {
        match value.iter().position(|&byte| byte == b':') {
            Some(at) => (&value[..at], &value[at + 1..]),
            None => (value, &[][..]),
        }
    };
    is_name(host) && port.iter().all(u8::is_ascii_digit)
}

/// Returns whether `name` is a `reg-name`, which includes IPv4 addresses.
fn is_name(name: &[u8]) -> bool {
    let mut escapes = name.split(|&byte| byte == b'%');
    let is_plain = |text: &[u8]| {
        text.iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte))
    };
    escapes.next().is_none_or(is_plain)
        && escapes.all(|text| {
            text.get(..2)
                .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
                && is_plain(text)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderName;

    #[test]
    fn host_is_a_name_or_an_address_with_an_optional_port() {
        for valid in [
            "",
            "example.com",
            "example.com:8080",
            "example.com:",
            "EXAMPLE_1.",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:80",
            "a%20b",
        ] {
            assert!(is_host(valid.as_bytes()), "{valid}");
        }
        for invalid in [
            "a b",
            " ",
            "user@host",
            "user:password@host",
            "a,b c",
            "a/b",
            "a?b",
            "a#b",
            "http://a",
            "a:b",
            "a:80:80",
            "a:-1",
            "::1",
            "[::1",
            "[::1]80",
            "[::1]a",
            "[a]",
            "[]",
            "a]",
            "a%2",
            "a%zz",
            "a\\b",
            "<a>",
            "a\"",
            "\u{e4}.example",
        ] {
            assert!(!is_host(invalid.as_bytes()), "{invalid}");
        }
    }

    #[test]
    fn request_id_is_the_callers_only_if_it_is_valid() {
        let headers = |id: &str| {
            let name = HeaderName::from_static(REQUEST_ID);
            HeaderMap::from_iter([(name, id.parse().expect("id should be a header value"))])
        };
        assert_eq!(request_id(&headers("abc-1.2:3")), "abc-1.2:3");
        for odd in ["", "a b", "<script>", &"x".repeat(129)] {
            assert_eq!(request_id(&headers(odd)).len(), 32, "{odd}");
        }
    }
}
