//! The table of routes. Matching, `Allow`, the labels of metrics and the check of `openapi.json` use it.

use crate::access::{Caller, Requirement, Scope, Scopes};
use crate::app::App;
use crate::capabilities::BoxFuture;
use crate::handlers::{health, metrics, openapi, problems};
use bulkhead_http::{Call, Problem, Response, json_response, problem_kind};
use hyper::{Method, StatusCode};

/// A function that handles the requests of a route.
type Handler = for<'a> fn(&'a App, Caller, Call<'a>) -> BoxFuture<'a, Result<Response, Problem>>;

/// A resource.
pub(crate) struct Route {
    /// A segment in braces stands for any text. The path is also the label of metrics.
    pub(crate) path: &'static str,
    /// The methods, as `Allow` lists them.
    pub(crate) methods: &'static str,
    /// The scopes that a caller needs.
    pub(crate) requires: Requirement,
    pub(crate) handler: Handler,
}

const GET: &str = "GET, HEAD, OPTIONS";
/// Without HEAD, which would use upstream quota for no result.
const GET_ALONE: &str = "GET, OPTIONS";
const POST: &str = "POST, OPTIONS";

/// A route of a capability: its handler reads or discards the body. With `for caller`, the handler also takes the caller.
macro_rules! capability {
    ($path:literal, $methods:expr, $requires:expr, $name:ident.$handler:ident) => {
        Route {
            path: $path,
            methods: $methods,
            requires: $requires,
            handler: |app, _, call| Box::pin(app.capabilities.$name.$handler(call)),
        }
    };
    ($path:literal, $methods:expr, $requires:expr, $name:ident.$handler:ident for caller) => {
        Route {
            path: $path,
            methods: $methods,
            requires: $requires,
            handler: |app, caller, call| Box::pin(app.capabilities.$name.$handler(caller, call)),
        }
    };
}

/// A route that ignores the body.
macro_rules! plain {
    ($path:literal, $requires:expr, |$app:pat_param, $caller:pat_param, $headers:pat_param| $response:expr) => {
        Route {
            path: $path,
            methods: GET,
            requires: $requires,
            handler: |$app, $caller, call| {
                let $headers = call.headers();
                call.discard_body();
                Box::pin(std::future::ready($response))
            },
        }
    };
}

const DECRYPT: Requirement = Requirement::scope(Scope::Decrypt);
const TOKEN_MAKE: Requirement = Requirement::scope(Scope::TokenMake);
const TOKEN_VERIFY: Requirement = Requirement::scope(Scope::TokenVerify);
const SIGN: Requirement = Requirement::scope(Scope::Sign);
const REQUESTS: Requirement = Requirement::OneOf(Scopes::of(&[Scope::Requests, Scope::Admin]));
const OBSERVE: Requirement = Requirement::scope(Scope::Observe);
const ADMIN: Requirement = Requirement::scope(Scope::Admin);

/// All resources.
pub(crate) const ROUTES: &[Route] = &[
    capability!("/decryptMessage", POST, DECRYPT, decrypt.open for caller),
    capability!("/token", POST, TOKEN_MAKE, token.make for caller),
    capability!("/token/verify", POST, TOKEN_VERIFY, token.verify for caller),
    capability!("/crypto/sign", "GET, POST, OPTIONS", SIGN, signing.sign for caller),
    capability!("/crypto/verify", GET_ALONE, SIGN, signing.verify for caller),
    capability!("/crypto/test_api_key", GET_ALONE, SIGN, signing.test_key),
    capability!("/crypto/requests", GET, REQUESTS, signing.list for caller),
    capability!("/crypto/requests/{id}", GET, REQUESTS, signing.request for caller),
    capability!(
        "/crypto/requests/{id}/redeliver",
        POST,
        ADMIN,
        signing.redeliver
    ),
    plain!("/access-keys", ADMIN, |app, _, _| Ok(json_response(
        StatusCode::OK,
        &app.access.list()
    ))),
    plain!("/livez", Requirement::Nothing, |_, _, _| Ok(health::live())),
    plain!("/readyz", Requirement::Nothing, |app, _, _| health::ready(
        app
    )),
    plain!("/health", Requirement::ScopeForDetails, |app, caller, _| {
        health::health(app, &caller)
    }),
    plain!("/metrics", OBSERVE, |app, _, headers| metrics::get(
        &app.metrics,
        headers
    )),
    plain!("/openapi.yaml", Requirement::Nothing, |_, _, _| Ok(
        openapi::yaml()
    )),
    plain!("/openapi.json", Requirement::Nothing, |_, _, _| Ok(
        openapi::json()
    )),
    Route {
        path: "/problems/{code}",
        methods: GET,
        requires: Requirement::Nothing,
        handler: |_, _, call| {
            let page = problems::page(call.headers(), call.path_parameter);
            call.discard_body();
            Box::pin(std::future::ready(page))
        },
    },
];

/// The target of a request.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// A resource, by its index in [`ROUTES`], and the path parameter (empty for other routes).
    Resource(usize, &'a str),
    /// The server as a whole (`OPTIONS *`).
    Server,
    Unknown,
}

/// The labels of metrics that do not belong to a resource.
const OTHER_LABELS: [&str; 3] = ["*", "unknown", "malformed"];

/// The number of the label for input that is not HTTP.
pub(crate) const MALFORMED: usize = ROUTES.len() + 2;

/// Returns all labels of metrics, in the order of their numbers.
pub(crate) fn labels() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|route| route.path).chain(OTHER_LABELS)
}

impl<'a> Target<'a> {
    pub(crate) fn of(path: &'a str) -> Self {
        if path == "*" {
            return Self::Server;
        }
        let mut routes = ROUTES.iter().enumerate();
        let found =
            routes.find_map(|(at, route)| Some(Self::Resource(at, matched(route.path, path)?)));
        found.unwrap_or(Self::Unknown)
    }

    /// Returns the number of the target's label.
    pub(crate) fn number(self) -> usize {
        match self {
            Self::Resource(at, _) => at,
            Self::Server => ROUTES.len(),
            Self::Unknown => ROUTES.len() + 1,
        }
    }

    /// Returns the target's label in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Resource(at, _) => ROUTES[at].path,
            Self::Server => OTHER_LABELS[0],
            Self::Unknown => OTHER_LABELS[1],
        }
    }

    /// Returns the methods of the target, in the format of `Allow`.
    ///
    /// # Errors
    /// 404 if the target is unknown, and 405 if it does not have the method.
    pub(crate) fn check(self, method: &Method) -> Result<&'static str, Problem> {
        let (allow, is_allowed) = match self {
            Self::Resource(at, _) => {
                let allow = ROUTES[at].methods;
                let mut methods = allow.split(", ");
                (allow, methods.any(|allowed| allowed == method.as_str()))
            }
            // `*` is not a resource. Only `OPTIONS` applies to it (RFC 9110 section 7.1).
            Self::Server => ("GET, HEAD, POST, OPTIONS", method == Method::OPTIONS),
            Self::Unknown => return Err(not_found()),
        };
        if is_allowed {
            Ok(allow)
        } else {
            Err(Problem::method_not_allowed(allow))
        }
    }
}

/// Returns the text of the segment in braces, or an empty text for a pattern without one. Returns `None` if
/// the path does not match.
fn matched<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return (pattern == path).then_some("");
    };
    let (_, after) = rest.split_once('}')?;
    let parameter = path.strip_prefix(before)?.strip_suffix(after)?;
    (!parameter.is_empty() && !parameter.contains('/')).then_some(parameter)
}

fn not_found() -> Problem {
    Problem::new(
        &problem_kind::NOT_FOUND,
        "There is no resource at this path. Use POST /decryptMessage to decrypt a message, POST /token to \
         make a token, or GET /crypto/sign to have a message signed.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeMap;

    #[test]
    fn label_numbers_equal_label_positions() {
        let labels: Vec<_> = labels().collect();
        for (at, route) in ROUTES.iter().enumerate() {
            assert_eq!(Target::of(route.path).number(), at, "{}", route.path);
            assert_eq!(labels[at], Target::of(route.path).label());
        }
        for target in [Target::Server, Target::Unknown] {
            assert_eq!(labels[target.number()], target.label());
        }
        assert_eq!(labels[MALFORMED], "malformed");
    }

    #[test]
    fn path_matches_only_as_a_whole() {
        let found = |path| match Target::of(path) {
            Target::Resource(at, parameter) => Some((ROUTES[at].path, parameter)),
            Target::Server | Target::Unknown => None,
        };
        assert_eq!(found("/token/verify"), Some(("/token/verify", "")));
        let request = Some(("/crypto/requests/{id}", "1f"));
        assert_eq!(found("/crypto/requests/1f"), request);
        let redeliver = Some(("/crypto/requests/{id}/redeliver", "1f"));
        assert_eq!(found("/crypto/requests/1f/redeliver"), redeliver);
        for nowhere in [
            "/crypto/requests/",
            "/crypto/requests//redeliver",
            "/crypto/requests/redeliver/",
            "/crypto/requests/1/x",
            "/",
            "/token/",
            "/TOKEN",
            "unknown",
            "malformed",
            "*",
            "",
        ] {
            assert_eq!(found(nowhere), None, "{nowhere}");
        }
    }

    /// The API description names the scopes of each operation. An open server requires none of them.
    #[test]
    fn described_scopes_equal_required_ones() {
        let document: Value =
            serde_json::from_str(openapi::JSON).expect("description should be JSON");
        for route in ROUTES {
            let scopes: Vec<Vec<&str>> = match route.requires {
                Requirement::Nothing => Vec::new(),
                Requirement::ScopeForDetails => vec![vec![Scope::Observe.name()]],
                Requirement::OneOf(scopes) => scopes.iter().map(|it| vec![it.name()]).collect(),
            };
            let item = document["paths"][route.path]
                .as_object()
                .expect("path item should be an object");
            for (_, operation) in item.iter().filter(|(name, _)| *name != "parameters") {
                let security = operation["security"].as_array();
                let alternatives = security.into_iter().flatten();
                let alternatives: Vec<_> = alternatives.map(|it| it.get("accessKey")).collect();
                let described: Vec<_> = alternatives.iter().flatten().collect();
                assert_eq!(
                    serde_json::json!(described),
                    serde_json::json!(scopes),
                    "{}",
                    route.path
                );
                assert_eq!(
                    alternatives.contains(&None),
                    !scopes.is_empty(),
                    "{}",
                    route.path
                );
                let statuses = operation["responses"].as_object().expect("an object");
                let is_protected = matches!(route.requires, Requirement::OneOf(_));
                for status in ["401", "403", "429"] {
                    assert_eq!(
                        statuses.contains_key(status),
                        is_protected,
                        "{}",
                        route.path
                    );
                }
            }
        }
    }

    /// The API description has one rule for all `OPTIONS` and `HEAD` requests.
    #[test]
    fn described_routes_and_methods_equal_served_ones() {
        let document: Value =
            serde_json::from_str(openapi::JSON).expect("description should be JSON");
        let paths = document["paths"]
            .as_object()
            .expect("paths should be an object");
        let described = paths.iter().map(|(path, item)| {
            let methods = item
                .as_object()
                .expect("path item should be an object")
                .keys();
            let methods = methods.filter(|name| *name != "parameters");
            (
                path.clone(),
                methods.map(|name| name.to_uppercase()).collect(),
            )
        });
        let served = ROUTES.iter().map(|route| {
            let methods = route.methods.split(", ");
            let methods = methods.filter(|name| !["OPTIONS", "HEAD"].contains(name));
            (route.path.to_owned(), methods.map(str::to_owned).collect())
        });
        let described: BTreeMap<String, Vec<String>> = described.collect();
        assert_eq!(described, served.collect());
    }
}
