//! Problem documents of access control.

use super::scope::{Scope, Scopes};
use super::settings::AccessSettings;
use bulkhead_http::{Problem, problem_kinds, setting};
use hyper::header::{HeaderValue, WWW_AUTHENTICATE};

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
