//! Media types that a client accepts, and those that it sends.

use crate::problem::Problem;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};

/// Returns the quality of a media type according to the `Accept` headers (RFC 9110 section 12.5.1), in
/// thousandths. Without `Accept`, every type has quality 1000.
pub fn accept_quality(headers: &HeaderMap, media_type: &str) -> u16 {
    let (main, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    let mut best = (0, 0);
    let mut any = false;
    for value in headers.get_all(ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            if name.is_empty() {
                continue;
            }
            any = true;
            let exactness = match name.as_str() {
                name if name == media_type => 3,
                name if name.strip_suffix("/*") == Some(main) => 2,
                "*/*" => 1,
                _ => continue,
            };
            // The same type may occur several times with different parameters. The highest quality counts.
            best = best.max((exactness, quality(parts)));
        }
    }
    if any { best.1 } else { 1000 }
}

/// Returns the value of the parameter `q` in thousandths, or 1000 if it is missing or malformed.
fn quality<'a>(mut parameters: impl Iterator<Item = &'a str>) -> u16 {
    let value = parameters.find_map(|parameter| {
        let lower = parameter.strip_prefix("q=");
        lower.or(parameter.strip_prefix("Q="))
    });
    let quality = value
        .and_then(|text| text.parse::<f32>().ok())
        .filter(|quality| (0.0..=1.0).contains(quality));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 1000"
    )]
    quality.map_or(1000, |quality| (quality * 1000.0).round() as u16)
}

/// Returns the position of the offered media type with the highest quality. The first one wins if several
/// have the same quality.
///
/// # Errors
/// A [`Problem`] with status 406 if the client does not accept any of them.
pub fn negotiate(headers: &HeaderMap, offered: &[&str]) -> Result<usize, Problem> {
    let qualities = offered.iter().map(|offer| accept_quality(headers, offer));
    qualities
        .enumerate()
        .filter(|(_, quality)| *quality > 0)
        .max_by_key(|(position, quality)| (*quality, std::cmp::Reverse(*position)))
        .map(|(position, _)| position)
        .ok_or_else(|| Problem::not_acceptable(&offered.join(", ")))
}

/// Checks that a body is declared as JSON without a content coding.
///
/// # Errors
/// A [`Problem`] with the status 415, which names the accepted content type or coding.
pub fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let codings = headers.get_all(CONTENT_ENCODING).iter();
    let is_identity = |coding: &str| coding.trim().eq_ignore_ascii_case("identity");
    let mut codings = codings.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    if !codings.all(is_identity) {
        return Err(Problem::unsupported_content_encoding());
    }
    if is_json(headers) {
        Ok(())
    } else {
        Err(Problem::unsupported_media_type())
    }
}

/// Returns whether `Content-Type` is a JSON type: `application/json` or `…+json`, with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json"
        || essence.split_once('/').is_some_and(|(main, sub)| {
            !main.is_empty() && sub.len() > 5 && sub.ends_with("+json") && !sub.contains('/')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: hyper::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("text should be a header value"))])
    }

    #[test]
    fn json_is_recognised_in_every_spelling() {
        for yes in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
        ] {
            assert!(is_json(&headers(CONTENT_TYPE, yes)), "{yes}");
        }
        for no in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "json",
            "+json",
            "a/b/c+json",
            "",
        ] {
            assert!(!is_json(&headers(CONTENT_TYPE, no)), "{no}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn quality_is_that_of_the_most_exact_range() {
        let media_type = "application/octet-stream";
        for (accept, quality) in [
            ("*/*", 1000),
            ("application/octet-stream", 1000),
            ("application/*;q=0.5", 500),
            ("*/*;q=0.1, application/octet-stream;q=0.8", 800),
            ("application/octet-stream;q=0, */*", 0),
            ("application/json", 0),
        ] {
            assert_eq!(
                accept_quality(&headers(ACCEPT, accept), media_type),
                quality,
                "{accept}"
            );
        }
        assert_eq!(accept_quality(&HeaderMap::new(), media_type), 1000);
    }

    #[test]
    fn negotiation_prefers_the_first_offer_of_equal_quality() {
        let offered = ["application/json", "text/plain"];
        for (accept, position) in [
            ("*/*", Some(0)),
            ("text/plain, application/json", Some(0)),
            ("text/plain, application/json;q=0.9", Some(1)),
            ("text/*", Some(1)),
            ("image/png", None),
        ] {
            let chosen = negotiate(&headers(ACCEPT, accept), &offered).ok();
            assert_eq!(chosen, position, "{accept}");
        }
        assert_eq!(negotiate(&HeaderMap::new(), &offered).ok(), Some(0));
    }
}
