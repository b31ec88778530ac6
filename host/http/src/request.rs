//! Checks of the head of a request.

use crate::problem::Problem;
use crate::response::REQUEST_ID;
use crate::settings::Settings;
use hyper::HeaderMap;
use hyper::Version;
use hyper::header::{HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;

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
    // RFC 9112 section 6.1.
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(Problem::unknown_transfer_coding());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderName;

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
