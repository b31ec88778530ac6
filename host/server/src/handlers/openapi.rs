//! `GET /openapi.yaml` and `GET /openapi.json`: the description of the API for programs (`OpenAPI` 3.1).

use bulkhead_http::{Response, response};
use hyper::StatusCode;

const YAML: &str = include_str!("../../../../openapi.yaml");

/// The same, generated. A test of the harness compares the two and tells how to write it anew.
pub(crate) const JSON: &str = include_str!("../../../../openapi.json");

/// RFC 9512 names the type.
pub(crate) fn yaml() -> Response {
    response(StatusCode::OK, "application/yaml", YAML)
}

pub(crate) fn json() -> Response {
    response(StatusCode::OK, "application/json", JSON)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_that_of_the_server() {
        let document: serde_json::Value = serde_json::from_str(super::JSON).expect("JSON");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
