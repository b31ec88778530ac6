//! Checks responses against `openapi.yaml`: the status, the content type, the required headers and
//! the body.

use crate::http::Response;
use boon::{Compiler, Draft, SchemaIndex, Schemas};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../openapi.json")).expect("openapi.json should be JSON")
});

static DISABLED: AtomicBool = AtomicBool::new(false);

/// Statuses that any path can return, because they precede routing.
const BEFORE_ROUTING: [u16; 6] = [400, 405, 414, 421, 431, 501];

/// Part of the version that a trial component returns as the token.
const TRIAL: &[u8] = b"-edition.";

/// Disables all checks, so that benchmarks measure only the server.
pub fn disable_checks() {
    DISABLED.store(true, Ordering::Relaxed);
}

/// Returns the whole description.
pub fn document() -> &'static Value {
    &DOCUMENT
}

/// Panics if a response does not match `openapi.yaml`. Responses without `X-Request-Id` are
/// ignored, because they do not come from Bulkhead.
#[track_caller]
pub fn check(method: &str, target: &str, response: &Response) {
    if DISABLED.load(Ordering::Relaxed) || response.header("x-request-id").is_none() {
        return;
    }
    if let Err(why) = validate(method, target, response) {
        panic!(
            "{method} {target} does not match openapi.yaml: {why}; status {}, headers {:?}, body {}",
            response.status,
            response.headers,
            String::from_utf8_lossy(&response.body[..response.body.len().min(1000)])
        );
    }
}

/// Checks the body of a webhook against `openapi.yaml`.
///
/// # Errors
///
/// The first difference from the schema, as text.
pub fn validate_notification(body: &Value) -> Result<(), String> {
    match_schema(
        "/webhooks/notification/post/requestBody/content/application~1json/schema",
        body,
    )
}

fn validate(method: &str, target: &str, response: &Response) -> Result<(), String> {
    if response.header("cache-control") != Some("no-store") {
        return Err("Cache-Control is not no-store".to_owned());
    }
    let status = response.status;
    let path = path(target);
    let Some(template) = template(path) else {
        return match (status, method) {
            (204, "OPTIONS") if path == "*" => require_headers(&["allow"], response),
            (404, _) => problem(&["not_found"], method, response),
            _ if BEFORE_ROUTING.contains(&status) => problem(&[], method, response),
            _ => Err("the path is not described".to_owned()),
        };
    };
    if method == "OPTIONS" && status == 204 {
        return require_headers(&["allow"], response);
    }
    let described = if method == "HEAD" { "GET" } else { method };
    let operation = format!(
        "/paths/{}/{}",
        template.replace('~', "~0").replace('/', "~1"),
        described.to_lowercase()
    );
    if DOCUMENT.pointer(&operation).is_none() || status == 405 {
        if status == 405 {
            require_headers(&["allow"], response)?;
        }
        return if BEFORE_ROUTING.contains(&status) {
            problem(&[], method, response)
        } else {
            Err("the operation is not described".to_owned())
        };
    }
    let pointer = resolve_reference(&format!("{operation}/responses/{status}"));
    // With `--observe-listen`, no address serves all paths.
    if pointer.is_none() && status == 404 {
        return problem(&["not_found"], method, response);
    }
    let pointer = pointer.ok_or("the status is not described")?;
    headers(&pointer, response)?;
    if method == "HEAD" {
        return Ok(());
    }
    content(&pointer, response)
}

/// Returns the path of a request target in origin form or absolute form.
fn path(target: &str) -> &str {
    let rest = target.strip_prefix("http://").map_or(target, |rest| {
        rest.find('/').map_or("/", |slash| &rest[slash..])
    });
    rest.split(['?', '#']).next().unwrap_or_default()
}

/// Returns the template of `openapi.yaml` that matches a path.
fn template(path: &str) -> Option<&'static str> {
    let paths = DOCUMENT["paths"]
        .as_object()
        .expect("paths should be an object");
    paths.keys().map(String::as_str).find(|template| {
        let (ours, theirs) = (path.split('/'), template.split('/'));
        ours.clone().count() == theirs.clone().count()
            && ours.zip(theirs).all(|(ours, theirs)| {
                ours == theirs || (theirs.starts_with('{') && !ours.is_empty())
            })
    })
}

/// Follows the reference at a pointer, if there is one.
fn resolve_reference(pointer: &str) -> Option<String> {
    match DOCUMENT.pointer(pointer)?.get("$ref") {
        Some(reference) => resolve_reference(reference.as_str()?.strip_prefix('#')?),
        None => Some(pointer.to_owned()),
    }
}

fn require_headers(names: &[&str], response: &Response) -> Result<(), String> {
    match names.iter().find(|name| response.header(name).is_none()) {
        Some(name) => Err(format!("the header {name} is missing")),
        None => Ok(()),
    }
}

fn headers(pointer: &str, response: &Response) -> Result<(), String> {
    let described = DOCUMENT.pointer(&format!("{pointer}/headers"));
    for name in described
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|names| names.keys())
    {
        let header_pointer = resolve_reference(&format!("{pointer}/headers/{name}"))
            .ok_or("a reference of openapi.yaml leads nowhere")?;
        let header = DOCUMENT
            .pointer(&header_pointer)
            .ok_or("a reference of openapi.yaml leads nowhere")?;
        match response.header(&name.to_lowercase()) {
            None if header["required"] == true => {
                return Err(format!("the header {name} is missing"));
            }
            None => {}
            Some(text) => {
                let number = header["schema"]["type"] == "integer";
                let value = match text.parse::<u64>() {
                    Ok(value) if number => json!(value),
                    _ => json!(text),
                };
                match_schema(&format!("{header_pointer}/schema"), &value)?;
            }
        }
    }
    Ok(())
}

fn content(pointer: &str, response: &Response) -> Result<(), String> {
    let content_type = response.header("content-type").unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    let media_type = format!("{pointer}/content/{}", essence.replace('/', "~1"));
    let described = DOCUMENT
        .pointer(&media_type)
        .ok_or_else(|| format!("content type {content_type:?} is not described"))?;
    if described.get("schema").is_none() {
        return Ok(());
    }
    let text = || String::from_utf8(response.body.clone()).map_err(|error| error.to_string());
    let value = if essence.ends_with("json") {
        serde_json::from_slice(&response.body).map_err(|error| error.to_string())?
    } else {
        json!(text()?.trim_end())
    };
    let mut parts = response.body.windows(TRIAL.len());
    if pointer.starts_with("/paths/~1token/") && parts.any(|bytes| bytes == TRIAL) {
        return Ok(());
    }
    match_schema(&format!("{media_type}/schema"), &value)?;
    if essence == "application/problem+json" {
        check_problem_fields(&value, response)?;
    }
    Ok(())
}

/// Checks a problem document that no operation describes. Its code must be one of `codes`, unless
/// that list is empty.
fn problem(codes: &[&str], method: &str, response: &Response) -> Result<(), String> {
    if method == "HEAD" {
        return Ok(());
    }
    if response.header("content-type") != Some("application/problem+json") {
        return Err("the response is not a problem document".to_owned());
    }
    let document = response.json();
    match_schema("/components/schemas/Problem", &document)?;
    check_problem_fields(&document, response)?;
    let code = document["code"].as_str().unwrap_or_default();
    if codes.is_empty() || codes.contains(&code) {
        Ok(())
    } else {
        Err(format!("code {code} is not expected here"))
    }
}

/// Checks the rules for problem documents that a schema cannot express.
fn check_problem_fields(document: &Value, response: &Response) -> Result<(), String> {
    if document["status"] != response.status {
        return Err("the document has another status".to_owned());
    }
    if document["request_id"].as_str() != response.header("x-request-id") {
        return Err("the document has another request_id".to_owned());
    }
    if (document["code"] == "invalid_parameter") != document["parameter"].is_string() {
        return Err("exactly the code invalid_parameter must have a parameter".to_owned());
    }
    if response.status == 503 && document["code"] != "not_configured" {
        require_headers(&["retry-after"], response)?;
    }
    Ok(())
}

/// Checks a value against the schema at a pointer of the description.
fn match_schema(pointer: &str, value: &Value) -> Result<(), String> {
    /// The schemas that were needed up to now, by their pointers.
    static SCHEMAS: LazyLock<Mutex<HashMap<String, Arc<Schema>>>> = LazyLock::new(Mutex::default);
    let schema = Arc::clone(
        SCHEMAS
            .lock()
            .expect("thread should not panic")
            .entry(pointer.to_owned())
            .or_insert_with(|| Arc::new(Schema::at(pointer))),
    );
    schema
        .all
        .validate(value, schema.index)
        .map_err(|error| error.to_string())
}

/// A schema of the description, with those that it refers to.
struct Schema {
    all: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn at(pointer: &str) -> Self {
        /// The base of references. Nothing is downloaded.
        const URL: &str = "https://bulkhead.invalid/openapi.json";
        // A reference is a URI, in which the braces of path templates are escaped.
        let pointer = pointer.replace('{', "%7B").replace('}', "%7D");
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.enable_format_assertions();
        compiler
            .add_resource(URL, DOCUMENT.clone())
            .expect("openapi.json should be a resource");
        let mut all = Schemas::new();
        let index = compiler
            .compile(&format!("{URL}#{pointer}"), &mut all)
            .unwrap_or_else(|error| panic!("schema at {pointer} should compile: {error}"));
        Self { all, index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &Value, headers: &[(&str, &str)]) -> Response {
        let content_type = if status < 400 {
            "application/json"
        } else {
            "application/problem+json"
        };
        let always = [
            ("content-type", content_type),
            ("cache-control", "no-store"),
            ("x-request-id", "r"),
        ];
        Response {
            status,
            headers: always
                .iter()
                .chain(headers)
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: body.to_string().into_bytes(),
        }
    }

    fn problem_body(status: u16, code: &str) -> Value {
        json!({"type": format!("/problems/{code}"), "title": "T", "status": status, "detail": "D", "code": code,
               "request_id": "r"})
    }

    #[test]
    fn described_response_is_accepted() {
        let opened = json!({"DecryptedMessage": "x"});
        validate("POST", "/decryptMessage", &response(200, &opened, &[]))
            .expect("response should be described");
        validate(
            "POST",
            "/decryptMessage?x=1",
            &response(422, &problem_body(422, "not_text"), &[]),
        )
        .expect("response should be described");
        validate(
            "GET",
            "/crypto/requests/x",
            &response(404, &problem_body(404, "not_found"), &[]),
        )
        .expect("response should be described");
        validate(
            "GET",
            "/nowhere",
            &response(404, &problem_body(404, "not_found"), &[]),
        )
        .expect("response should be described");
        validate(
            "PUT",
            "/token",
            &response(
                405,
                &problem_body(405, "method_not_allowed"),
                &[("allow", "POST")],
            ),
        )
        .expect("response should be described");
        let request = json!({"id": "0".repeat(44), "status": "pending", "message": "m", "attempts": 0,
            "created_at": "2026-01-01T00:00:00.000Z", "notification": {"status": "none", "attempts": 0}});
        validate("GET", "/crypto/requests/x", &response(200, &request, &[]))
            .expect("response should be described");
        let busy = response(
            503,
            &problem_body(503, "overloaded"),
            &[("retry-after", "1")],
        );
        validate("POST", "http://host/token", &busy).expect("response should be described");
    }

    #[test]
    fn undescribed_response_is_rejected() {
        let assert_rejected = |method, target, response: &Response| {
            validate(method, target, response).expect_err("response should be rejected");
        };
        let further = json!({"DecryptedMessage": "x", "more": 1});
        assert_rejected("POST", "/decryptMessage", &response(200, &further, &[]));
        assert_rejected("POST", "/decryptMessage", &response(201, &json!({}), &[]));
        assert_rejected(
            "POST",
            "/decryptMessage",
            &response(422, &problem_body(422, "other"), &[]),
        );
        assert_rejected(
            "POST",
            "/decryptMessage",
            &response(422, &problem_body(400, "not_text"), &[]),
        );
        assert_rejected("GET", "/decryptMessage", &response(200, &json!({}), &[]));
        assert_rejected(
            "PUT",
            "/token",
            &response(405, &problem_body(405, "method_not_allowed"), &[]),
        );
        // Without `Retry-After`, and with a value that is not a number.
        assert_rejected(
            "POST",
            "/token",
            &response(503, &problem_body(503, "overloaded"), &[]),
        );
        assert_rejected(
            "POST",
            "/token",
            &response(
                503,
                &problem_body(503, "overloaded"),
                &[("retry-after", "soon")],
            ),
        );
        assert_rejected("GET", "/nowhere", &response(200, &json!({}), &[]));
        let token = json!({"token": "00", "algorithm": "HMAC-SHA256"});
        assert_rejected("POST", "/token", &response(200, &token, &[]));
    }

    /// `openapi.yaml` is written by hand and `openapi.json` is generated from it, here and not in the build, so
    /// that no build needs a YAML parser.
    #[test]
    fn json_description_equals_the_yaml_one() {
        let yaml: Value = serde_saphyr::from_str(include_str!("../../openapi.yaml"))
            .expect("openapi.yaml should be YAML that JSON can hold");
        let json = serde_json::to_string_pretty(&yaml).expect("value should serialize") + "\n";
        if std::env::var_os("BULKHEAD_TEST_WRITE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi.json");
            std::fs::write(path, &json).expect("source tree should be writable");
        } else {
            assert!(
                json == include_str!("../../openapi.json"),
                "openapi.json is out of date: BULKHEAD_TEST_WRITE=1 cargo test --release -p bulkhead-tests json_description"
            );
        }
    }

    #[test]
    fn notification_matches_its_type() {
        let id = "0".repeat(44);
        let data = |name: &str| json!({"id": id, "message": "m", name: "x"});
        let notification = |kind: &str, name: &str| {
            let body =
                json!({"type": kind, "timestamp": "2026-01-01T00:00:00.000Z", "data": data(name)});
            validate_notification(&body)
        };
        notification("signature.ready", "signature").expect("response should be described");
        notification("signature.failed", "error").expect("response should be described");
        notification("signature.ready", "error").expect_err("response should be rejected");
        notification("signature.other", "error").expect_err("response should be rejected");
    }
}
