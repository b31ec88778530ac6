//! Problem documents of access control.

use super::limits::{KeyLimit, LimitReached};
use super::scope::{Scope, Scopes};
use super::settings::AccessSettings;
use bulkhead_http::{Problem, problem_kinds, setting};
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use std::time::Duration;

problem_kinds! {
    UNAUTHENTICATED = 401 "unauthenticated" "Access key required" {
        meaning: "The server has access keys, and the request has no valid one.",
        causes: "The key is missing, misspelt, expired or removed, or the header `Authorization` is malformed. All these cases \
                 have one response on purpose, so that it helps no attacker.",
        remedy: "Send a key of this server in the header `Authorization: Bearer`. Operators make keys with \
                 `bulkhead access-key new`, and check them with `bulkhead access-key check`.",
    }
    MISSING_SCOPE = 403 "missing_scope" "Scope missing" {
        meaning: "The access key is valid, but it does not have the scope that this resource requires.",
        causes: "The key was made for other resources.",
        remedy: "Use a key with the scope that `detail` names. Operators add scopes to the entry of the key.",
    }
    CROSS_SITE_REQUEST = 403 "cross_site_request" "Request of another site" {
        meaning: "A web page of another origin made a browser send the request, and the server rejects such requests.",
        causes: "A page of another site or port uses this server from its visitor's browser. Or a proxy in front of the server \
                 changes the header `Host`.",
        remedy: "Send the request from a program, or from a page of the same origin. Operators behind a proxy list the public \
                 host of the server in the setting that `detail` names.",
    }
    LIMIT_REACHED = 429 "limit_reached" "Limit of the access key reached" {
        meaning: "The access key has used up a limit of this server. The member `limit` names it.",
        causes: "`request_rate`: too many requests in a short time. `requests_max`: too many requests at the same time. \
                 `kdf_rate`: the messages of the last minute needed too much key derivation. `pending_max`: too many \
                 requests wait for a signature. The callers of one access key share its limits.",
        remedy: "Send the request again after the time in `Retry-After`, and send fewer requests. The headers \
                 `RateLimit-Policy` and `RateLimit` show the limit. Operators raise it in the entry of the key.",
    }
    TOO_MANY_FAILURES = 429 "too_many_failures" "Too many failed attempts" {
        meaning: "The request has no valid access key, and too many such requests came from this address.",
        causes: "A program keeps sending requests without a key or with an old one. Clients behind one proxy may share an \
                 address.",
        remedy: "Send a valid key: such requests are always accepted. Otherwise wait for the time in `Retry-After`.",
    }
    MISDIRECTED_REQUEST = 421 "misdirected_request" "Host not accepted" {
        meaning: "The server does not accept the host that the request names.",
        causes: "The host is not in the list of allowed hosts. A server without access keys on the loopback address accepts \
                 hosts such as localhost only, so that web pages cannot use it. A proxy on the same machine may pass on its \
                 own host.",
        remedy: "Use a host that the server accepts. Operators add hosts with the setting that `detail` names.",
    }
}

/// The request has no valid access key. The response is the same whether the key is missing, malformed,
/// unknown or expired.
pub(super) fn unauthenticated() -> Problem {
    Problem::new(
        &UNAUTHENTICATED,
        "The request has no valid access key. Send a key of this server in the header Authorization: Bearer. \
         Operators make keys with bulkhead access-key new.",
    )
    .with_header(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"bulkhead\""),
    )
}

/// A page of another origin made a browser send the request.
pub(super) fn cross_site() -> Problem {
    Problem::new(
        &CROSS_SITE_REQUEST,
        format!(
            "A web page of another origin made a browser send this request. Send it from a program, or from a page \
             of the same origin. Operators list the public host of the server with {}.",
            setting!(AccessSettings, allowed_hosts)
        ),
    )
}

/// The server does not accept the host of the request.
pub(super) fn misdirected() -> Problem {
    Problem::new(
        &MISDIRECTED_REQUEST,
        format!(
            "This server does not accept the host that the request names. A server without access keys on the \
             loopback address accepts hosts such as localhost and 127.0.0.1 only, so that web pages cannot use it. \
             Operators add hosts with {}.",
            setting!(AccessSettings, allowed_hosts)
        ),
    )
}

/// The access key is valid, but does not have any of these scopes.
pub(super) fn missing_scope(scopes: Scopes) -> Problem {
    let names: Vec<_> = scopes.iter().map(Scope::name).collect();
    Problem::new(
        &MISSING_SCOPE,
        format!(
            "The access key does not have the scope {}. Use another key, or let the operator add the scope.",
            names.join(" or ")
        ),
    )
}

/// Maximum value of `Retry-After`, in seconds. After a longer wait, the next response has the rest of it.
const RETRY_AFTER_MAX: u64 = 3600;

/// Returns a time in whole seconds, at least one.
fn seconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0))
        .max(1)
}

/// Returns a time as the value of `Retry-After`.
fn retry_after(time: Duration) -> u64 {
    seconds(time).min(RETRY_AFTER_MAX)
}

/// Returns the response to a request beyond a limit of its key. The headers have the format of
/// draft-ietf-httpapi-ratelimit-headers-11.
pub(super) fn limit_reached(reached: LimitReached) -> Problem {
    let LimitReached {
        limit,
        quota,
        window,
        wait,
    } = reached;
    let (what, unit) = match limit {
        KeyLimit::RequestRate => ("has sent too many requests in a short time", ""),
        KeyLimit::RequestsMax => (
            "has too many requests at the same time",
            ";qu=\"concurrent-requests\"",
        ),
        KeyLimit::KdfRate => (
            "has used up its key derivation",
            ";qu=\"bulkhead-kdf-bytes\"",
        ),
        KeyLimit::PendingMax => (
            "has too many requests that wait for a signature",
            ";qu=\"bulkhead-pending-requests\"",
        ),
    };
    let name = limit.name();
    let window = window.map(|window| format!(";w={}", seconds(window)));
    let policy = format!("\"{name}\";q={quota}{unit}{}", window.unwrap_or_default());
    let wait = wait.map(retry_after);
    let left = match wait {
        Some(wait) => format!("\"{name}\";r=0;t={wait}"),
        None => format!("\"{name}\";r=0"),
    };
    let problem = Problem::new(
        &LIMIT_REACHED,
        format!(
            "The access key {what}. Try again after the time in Retry-After, and send fewer requests. Operators raise \
             the limit {name} in the entry of the key."
        ),
    )
    .with_member("limit", name)
    .with_header(RETRY_AFTER, HeaderValue::from(wait.unwrap_or(1)));
    let headers = [("ratelimit-policy", policy), ("ratelimit", left)];
    headers.into_iter().fold(
        problem,
        |problem, (name, value)| match HeaderValue::try_from(value) {
            Ok(value) => problem.with_header(HeaderName::from_static(name), value),
            Err(_) => problem,
        },
    )
}

/// Returns the response if too many requests without a valid key came from the address of the client. `wait` is the time
/// until the next one is allowed.
pub(super) fn too_many_failures(wait: Duration) -> Problem {
    Problem::new(
        &TOO_MANY_FAILURES,
        "Too many requests without a valid access key came from this address. Send a key of this server in the header \
         Authorization: Bearer, which is accepted at once, or try again after the time in Retry-After.",
    )
    .with_header(RETRY_AFTER, HeaderValue::from(retry_after(wait)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::rate::Rate;

    #[test]
    fn headers_show_the_limit_and_the_wait() {
        let headers = |reached| {
            let response = limit_reached(reached).into_response("id");
            ["retry-after", "ratelimit-policy", "ratelimit"]
                .map(|name| response.headers()[name].to_str().map(str::to_owned))
                .map(|value| value.expect("header should be text"))
        };
        let rate = Rate {
            units: 10,
            window: Duration::from_secs(1),
            burst: 25,
        };
        let wait = Duration::from_millis(1200);
        assert_eq!(
            headers(LimitReached::of_rate(KeyLimit::RequestRate, rate, wait)),
            ["2", "\"request_rate\";q=25;w=3", "\"request_rate\";r=0;t=2"]
        );
        let rate = Rate {
            units: 8 << 30,
            window: Duration::from_mins(1),
            burst: 8 << 30,
        };
        let wait = Duration::from_nanos(1);
        assert_eq!(
            headers(LimitReached::of_rate(KeyLimit::KdfRate, rate, wait)),
            [
                "1",
                "\"kdf_rate\";q=8589934592;qu=\"bulkhead-kdf-bytes\";w=60",
                "\"kdf_rate\";r=0;t=1"
            ]
        );
        let concurrent = LimitReached {
            limit: KeyLimit::RequestsMax,
            quota: 4,
            window: None,
            wait: None,
        };
        assert_eq!(
            headers(concurrent),
            [
                "1",
                "\"requests_max\";q=4;qu=\"concurrent-requests\"",
                "\"requests_max\";r=0"
            ]
        );
    }
}
