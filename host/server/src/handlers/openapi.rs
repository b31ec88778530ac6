//! `GET /openapi.yaml` and `GET /openapi.json`: the API description (`OpenAPI` 3.1).

use bulkhead_http::{Response, response};
use hyper::StatusCode;

const YAML: &str = include_str!("../../../../openapi.yaml");

/// The same document as JSON, which is generated. A test compares the two, and says how to generate the
/// JSON again.
pub(crate) const JSON: &str = include_str!("../../../../openapi.json");

/// Returns the document as YAML. The media type is that of RFC 9512.
pub(crate) fn yaml() -> Response {
    response(StatusCode::OK, "application/yaml", YAML)
}

/// Returns the document as JSON.
pub(crate) fn json() -> Response {
    response(StatusCode::OK, "application/json", JSON)
}

#[cfg(test)]
mod tests {
    #[test]
    fn version_is_that_of_the_server() {
        let document: serde_json::Value =
            serde_json::from_str(super::JSON).expect("document should be JSON");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
