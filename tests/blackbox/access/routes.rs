//! Every route with every kind of key.

use super::{KeyFile, new_key, send};
use bulkhead_tests::description::document;
use bulkhead_tests::http::{Response, request};
use bulkhead_tests::server::Server;
use serde_json::{Value, json};
use std::fmt::Write as _;

const SCOPES: [&str; 7] = [
    "decrypt",
    "token:make",
    "token:verify",
    "sign",
    "requests",
    "observe",
    "admin",
];

/// Returns all operations of the description, with the scopes that each accepts.
pub(super) fn operations() -> Vec<(String, String, Vec<String>)> {
    let paths = document()["paths"]
        .as_object()
        .expect("paths should be an object");
    let mut found = Vec::new();
    for (path, item) in paths {
        let item = item.as_object().expect("path item should be an object");
        for (method, operation) in item.iter().filter(|(name, _)| *name != "parameters") {
            let alternatives = operation["security"].as_array().into_iter().flatten();
            let scopes = alternatives.filter_map(|it| it["accessKey"][0].as_str());
            let target = path
                .replace("{id}", "0123456789abcdef")
                .replace("{code}", "not_found");
            found.push((
                method.to_uppercase(),
                target,
                scopes.map(str::to_owned).collect(),
            ));
        }
    }
    assert!(found.len() > 12, "{found:?}");
    found
}

/// Returns the parts of a response that a caller can see, without the request's id.
fn visible(response: &Response) -> (u16, Vec<(String, String)>, Value) {
    let is_own = |name: &str| !["x-request-id", "date"].contains(&name);
    let headers = response.headers.iter().filter(|(name, _)| is_own(name));
    let mut body = response.json();
    body["request_id"] = json!(null);
    (response.status, headers.cloned().collect(), body)
}

/// The status of each route by the key of the request.
const TABLE: &str = include_str!("routes.txt");

/// The first lines of the table.
const HEADING: &str = "\
The status of each route on a server with access keys, by the key of the request.
`every_route_requires_its_scope` compares it with a server. BULKHEAD_TEST_WRITE=1 writes it.
The requests have no body and no parameters, so that an admitted one may get 400, 404, 415 or 503.

no    unknown  expired  without    with its
key   key      key      its scope  scope     route
";

#[test]
fn every_route_requires_its_scope() {
    let mut file = KeyFile::new();
    let keys = SCOPES.map(|scope| file.add(&scope.replace(':', "-"), &[scope]));
    let (expired, mut entry) = new_key("old", &SCOPES);
    entry["keys"][0]["expires"] = json!("2020-01-01");
    file.entries.push(entry);
    let (unknown, _) = new_key("unknown", &SCOPES);
    let server = file.start();
    let mut table = HEADING.to_owned();
    for (method, target, scopes) in operations() {
        let is_open = scopes.is_empty() || target == "/health";
        let without = server.get(&method, &target);
        for invalid in [
            "",
            "x",
            &expired,
            &unknown,
            &keys[0][1..],
            &keys[0].to_lowercase(),
        ] {
            let response = send(&server, invalid, &method, &target);
            if is_open {
                assert_eq!(response.status, 200, "{method} {target}");
            } else {
                assert_eq!(response.status, 401, "{method} {target}");
                assert_eq!(visible(&response), visible(&without), "{method} {target}");
            }
        }
        let statuses =
            |keys: [&str; 2]| keys.map(|key| send(&server, key, &method, &target).status);
        let [unknown, expired] = statuses([&unknown, &expired]);
        let (mut with, mut other) = (0, 0);
        for (key, scope) in keys.iter().zip(SCOPES) {
            let response = send(&server, key, &method, &target);
            let is_rejected = [401, 403].contains(&response.status);
            let is_accepted = is_open || scopes.iter().any(|accepted| accepted == scope);
            assert_eq!(!is_rejected, is_accepted, "{method} {target} with {scope}");
            let column = if is_accepted && !is_open {
                &mut with
            } else {
                &mut other
            };
            assert!(
                [0, response.status].contains(column),
                "{method} {target} with {scope}"
            );
            *column = response.status;
            if is_rejected {
                assert_eq!(
                    (response.status, response.problem().as_str()),
                    (403, "missing_scope")
                );
            }
        }
        if is_open {
            with = other;
        }
        let no_key = without.status;
        writeln!(
            table,
            "{no_key}   {unknown}      {expired}      {other}        {with}       {method} {target}"
        )
        .expect("text should be writable");
    }
    if std::env::var_os("BULKHEAD_TEST_WRITE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/blackbox/access/routes.txt");
        std::fs::write(path, &table).expect("source tree should be writable");
    } else {
        assert_eq!(table, TABLE);
    }
}

#[test]
fn health_shows_details_to_observers_only() {
    let mut file = KeyFile::new();
    let observer = file.add("monitoring", &["observe"]);
    let other = file.add("ci", &["decrypt", "admin"]);
    let server = file.start();
    for response in [
        server.get("GET", "/health"),
        send(&server, &other, "GET", "/health"),
    ] {
        assert_eq!(response.json(), json!({"status": "ok"}));
    }
    let health = send(&server, &observer, "GET", "/health").json();
    assert_eq!(
        health["access"],
        json!({"status": "ok", "why": null, "entries": 2})
    );
    assert!(health["components"].is_array());
}

#[test]
fn options_unknown_paths_and_other_methods_need_no_key() {
    let mut file = KeyFile::new();
    file.add("ci", &["decrypt"]);
    let server = file.start();
    assert_eq!(server.get("OPTIONS", "/token").status, 204);
    assert_eq!(server.get("GET", "/nothing").status, 404);
    assert_eq!(server.get("GET", "/token").status, 405);
    assert_eq!(server.get("HEAD", "/metrics").status, 401);
}

#[test]
fn rejected_upload_sees_its_response() {
    let server = KeyFile::new().start();
    let body = vec![b' '; 8 << 20];
    let headers = [("Content-Type", "application/json")];
    let response = request(server.address, "POST", "/decryptMessage", &headers, &body);
    assert_eq!(
        (response.status, response.problem().as_str()),
        (401, "unauthenticated")
    );
}

#[test]
fn open_server_ignores_the_header() {
    let server = Server::shared();
    assert_eq!(send(server, "anything", "GET", "/metrics").status, 200);
    let health = server.get("GET", "/health").json();
    assert_eq!(health["access"], json!({"status": "open"}));
}
