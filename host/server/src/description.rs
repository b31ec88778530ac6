//! `GET /openapi.yaml` and `GET /openapi.json`: what this server does, for programs (`OpenAPI` 3.1).

use crate::http::{Answer, answer};
use hyper::StatusCode;

const YAML: &str = include_str!("../../../openapi.yaml");

/// The same, generated. A test of the harness compares the two and tells how to write it anew.
const JSON: &str = include_str!("../../../openapi.json");

/// RFC 9512 names the type.
pub(crate) fn yaml() -> Answer {
    answer(StatusCode::OK, "application/yaml", YAML)
}

pub(crate) fn json() -> Answer {
    answer(StatusCode::OK, "application/json", JSON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Route;
    use serde_json::Value;
    use std::collections::BTreeMap;

    fn document() -> Value {
        serde_json::from_str(JSON).expect("JSON")
    }

    #[test]
    fn the_version_is_ours() {
        assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    /// `OPTIONS` and `HEAD` go by a rule that is described once.
    #[test]
    fn every_route_is_described_with_its_methods_and_no_other() {
        let described: BTreeMap<String, Vec<String>> = document()["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .map(|(path, item)| {
                let methods = item.as_object().expect("operations").keys();
                let methods = methods.filter(|name| *name != "parameters");
                (
                    path.clone(),
                    methods.map(|name| name.to_uppercase()).collect(),
                )
            })
            .collect();
        let there: BTreeMap<String, Vec<String>> = Route::ALL
            .into_iter()
            .filter(|route| route.name().starts_with('/'))
            .map(|route| {
                let methods = route.allow().split(", ");
                let methods = methods.filter(|name| !["OPTIONS", "HEAD"].contains(name));
                (
                    route.name().to_owned(),
                    methods.map(str::to_owned).collect(),
                )
            })
            .collect();
        assert_eq!(described, there);
    }
}
