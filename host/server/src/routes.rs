//! The table of routes. Matching, `Allow`, the labels of metrics and the check of `openapi.json` follow from it.

use crate::app::App;
use crate::capabilities::BoxFuture;
use crate::handlers::{health, metrics, openapi};
use bulkhead_http::{Call, Problem, Response};
use hyper::{Method, StatusCode};

/// What handles the requests of a route.
type Handler = for<'a> fn(&'a App, Call<'a>) -> BoxFuture<'a, Result<Response, Problem>>;

/// A resource.
pub(crate) struct Route {
    /// A segment in braces stands for any text. The path is also the label of metrics.
    pub(crate) path: &'static str,
    /// The methods, as `Allow` lists them.
    pub(crate) methods: &'static str,
    pub(crate) handler: Handler,
}

const GET: &str = "GET, HEAD, OPTIONS";
/// Without HEAD, which would spend quota for nothing.
const GET_ALONE: &str = "GET, OPTIONS";
const POST: &str = "POST, OPTIONS";

/// A route of a capability: its handler reads or discards the body.
macro_rules! capability {
    ($path:literal, $methods:expr, $name:ident.$handler:ident) => {
        Route {
            path: $path,
            methods: $methods,
            handler: |app, call| Box::pin(app.capabilities.$name.$handler(call)),
        }
    };
}

/// A route that has no use for a body.
macro_rules! plain {
    ($path:literal, |$app:pat_param, $headers:pat_param| $response:expr) => {
        Route {
            path: $path,
            methods: GET,
            handler: |$app, call| {
                let $headers = call.headers();
                call.discard_body();
                Box::pin(std::future::ready($response))
            },
        }
    };
}

/// All resources.
pub(crate) const ROUTES: &[Route] = &[
    capability!("/decryptMessage", POST, decrypt.open),
    capability!("/token", POST, token.make),
    capability!("/token/verify", POST, token.verify),
    capability!("/crypto/sign", "GET, POST, OPTIONS", signing.sign),
    capability!("/crypto/verify", GET_ALONE, signing.verify),
    capability!("/crypto/test_api_key", GET_ALONE, signing.test_key),
    capability!("/crypto/requests/{id}", GET, signing.request),
    capability!("/crypto/requests/{id}/redeliver", POST, signing.redeliver),
    plain!("/livez", |_, _| Ok(health::live())),
    plain!("/readyz", |app, _| health::ready(app)),
    plain!("/health", |app, _| health::health(app)),
    plain!("/metrics", |app, headers| metrics::get(
        &app.metrics,
        headers
    )),
    plain!("/openapi.yaml", |_, _| Ok(openapi::yaml())),
    plain!("/openapi.json", |_, _| Ok(openapi::json())),
];

/// What the target of a request leads to.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// A resource by its place in [`ROUTES`], and the part of the path that names something.
    Resource(usize, &'a str),
    /// The server as a whole (`OPTIONS *`).
    Server,
    Unknown,
}

/// The number of labels of metrics that no resource has.
const OTHER_LABELS: [&str; 3] = ["*", "unknown", "malformed"];

/// The label of input that is not HTTP, as a number.
pub(crate) const MALFORMED: usize = ROUTES.len() + 2;

/// All labels of metrics, in the order of their numbers.
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

    /// The number of its label.
    pub(crate) fn number(self) -> usize {
        match self {
            Self::Resource(at, _) => at,
            Self::Server => ROUTES.len(),
            Self::Unknown => ROUTES.len() + 1,
        }
    }

    /// Its label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Resource(at, _) => ROUTES[at].path,
            Self::Server => OTHER_LABELS[0],
            Self::Unknown => OTHER_LABELS[1],
        }
    }

    /// The methods that it has, as `Allow` lists them.
    ///
    /// # Errors
    /// `404` or `405`.
    pub(crate) fn check(self, method: &Method) -> Result<&'static str, Problem> {
        let (allow, is_allowed) = match self {
            Self::Resource(at, _) => {
                let allow = ROUTES[at].methods;
                let mut methods = allow.split(", ");
                (allow, methods.any(|allowed| allowed == method.as_str()))
            }
            // `*` is no resource that could be read.
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

/// What stands for the segment in braces (nothing if there is none), if the path fits.
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
        StatusCode::NOT_FOUND,
        "not_found",
        "No such resource",
        "There is nothing at this path. POST /decryptMessage opens a message, POST /token makes a \
         token, GET /crypto/sign has a message signed.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeMap;

    #[test]
    fn every_label_has_its_number() {
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
    fn paths_match_whole() {
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

    /// `OPTIONS` and `HEAD` go by a rule that is described once.
    #[test]
    fn every_route_is_described_with_its_methods_and_no_other() {
        let document: Value = serde_json::from_str(openapi::JSON).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let described = paths.iter().map(|(path, item)| {
            let methods = item.as_object().expect("operations").keys();
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
