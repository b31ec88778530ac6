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

/// The id in the targets of [`operations`].
const ID: &str = "0123456789abcdef";

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
            let target = path.replace("{id}", ID).replace("{code}", "not_found");
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
\"Other owner\" is the status for a request of the signing relay that another name has made. `admin` sees all requests.

no    unknown  expired  without    with its  other
key   key      key      its scope  scope     owner  route
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
    let relay = RelayWithRequest::start();
    let mut table = HEADING.to_owned();
    for (method, target, scopes) in operations() {
        let other_owner = relay.status_for_other_owner(&method, &target, &scopes);
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
            "{no_key}   {unknown}      {expired}      {other}        {with}       {other_owner:<5}  {method} {target}"
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

/// A server with a request that belongs to the name `owner`.
struct RelayWithRequest {
    server: Server,
    id: String,
    owner: String,
    other: String,
    admin: String,
    _file: KeyFile,
}

impl RelayWithRequest {
    fn start() -> Self {
        let mut file = KeyFile::new();
        let owner = file.add("owner", &["sign", "requests"]);
        let other = file.add("other", &["sign", "requests"]);
        let admin = file.add("administrator", &["admin"]);
        let store = format!("sqlite:{}", file.path().with_extension("db").display());
        // No process listens there, so that the message waits.
        let server = file.start_with(&[
            ("BULKHEAD_UPSTREAM_URL", "http://127.0.0.1:9"),
            ("BULKHEAD_UPSTREAM_API_KEY", "a key"),
            ("BULKHEAD_STORE", &store),
            ("BULKHEAD_SIGN_TIMEOUT", "100ms"),
        ]);
        let accepted = send(&server, &owner, "GET", "/crypto/sign?message=m");
        assert_eq!(accepted.status, 202, "{accepted:?}");
        let id = accepted.json()["id"].as_str().map(str::to_owned);
        Self {
            server,
            id: id.expect("response should have an id"),
            owner,
            other,
            admin,
            _file: file,
        }
    }

    /// Returns the status of a route for a caller with its scope and another name than that of the request, or a dash
    /// for routes without a request.
    fn status_for_other_owner(&self, method: &str, target: &str, scopes: &[String]) -> String {
        if !target.contains(ID) {
            return "-".to_owned();
        }
        let is_for_admins = scopes == ["admin"];
        let key = if is_for_admins {
            &self.admin
        } else {
            &self.other
        };
        let existing = send(&self.server, key, method, &target.replace(ID, &self.id));
        if !is_for_admins {
            // The responses for the request of another name and for an unknown id are equal.
            let unknown = target.replace(ID, &"0".repeat(self.id.len()));
            let unknown = send(&self.server, key, method, &unknown);
            assert_eq!(visible(&existing), visible(&unknown), "{method} {target}");
        }
        existing.status.to_string()
    }
}

#[test]
fn requests_are_visible_to_their_owner_and_to_administrators() {
    let relay = RelayWithRequest::start();
    let get = |key: &str, target: &str| send(&relay.server, key, "GET", target);
    let target = format!("/crypto/requests/{}", relay.id);
    for key in [&relay.owner, &relay.admin] {
        let request = get(key, &target).json();
        assert_eq!(
            (&request["owner"], &request["message"]),
            (&json!("owner"), &json!("m"))
        );
    }
    // The same message of another name is another request.
    let accepted = get(&relay.other, "/crypto/sign?message=m").json();
    assert_ne!(accepted["id"], json!(relay.id));
    let repeated = get(&relay.owner, "/crypto/sign?message=m").json();
    assert_eq!(repeated["id"], json!(relay.id));

    let list = |key: &str, query: &str| {
        let response = get(key, &format!("/crypto/requests{query}"));
        assert_eq!(response.status, 200, "{query}");
        let page = response.json();
        let requests = page["requests"].as_array().cloned().unwrap_or_default();
        let ids: Vec<_> = requests
            .iter()
            .map(|request| request["id"].clone())
            .collect();
        (ids, page["next"].clone())
    };
    let (own, others) = (json!(relay.id), accepted["id"].clone());
    let both = vec![others.clone(), own.clone()];
    let only_page = |ids: &[Value]| (ids.to_vec(), json!(null));
    let first = std::slice::from_ref;
    assert_eq!(list(&relay.owner, ""), only_page(first(&own)));
    assert_eq!(
        list(&relay.other, "?status=pending"),
        only_page(first(&others))
    );
    assert_eq!(list(&relay.other, "?status=signed"), only_page(&[]));
    assert_eq!(list(&relay.other, "?owner=owner"), only_page(&[]));
    assert_eq!(list(&relay.admin, ""), only_page(&both));
    assert_eq!(list(&relay.admin, "?owner=owner"), only_page(first(&own)));
    assert_eq!(
        list(&relay.admin, "?limit=1"),
        (vec![others.clone()], others)
    );
    let next = format!("?limit=1&after={}", both[0].as_str().unwrap_or_default());
    assert_eq!(list(&relay.admin, &next), only_page(first(&own)));
    let foreign = get(
        &relay.other,
        &format!("/crypto/requests?after={}", relay.id),
    );
    let unknown = get(
        &relay.other,
        &format!("/crypto/requests?after={}", "0".repeat(relay.id.len())),
    );
    assert_eq!(foreign.status, 404);
    assert_eq!(visible(&foreign), visible(&unknown));
}

/// Without access keys, the list has the requests of all callers, so that other machines cannot read it.
#[test]
fn open_server_lists_requests_on_loopback_only() {
    let folder = tempfile::tempdir().expect("folder should be created");
    for (listen, status) in [("127.0.0.1:0", 200), ("0.0.0.0:0", 403)] {
        let store = format!("sqlite:{}", folder.path().join(listen).display());
        let server = Server::start_exactly(
            &["--listen", listen],
            &[
                ("BULKHEAD_UPSTREAM_URL", "http://127.0.0.1:9"),
                ("BULKHEAD_UPSTREAM_API_KEY", "a key"),
                ("BULKHEAD_STORE", &store),
                ("BULKHEAD_SIGN_TIMEOUT", "100ms"),
            ],
        );
        let accepted = server.get("GET", "/crypto/sign?message=m");
        assert_eq!(accepted.status, 202, "{accepted:?}");
        let response = server.get("GET", "/crypto/requests");
        assert_eq!(response.status, status, "{listen}");
        if status == 200 {
            let id = &response.json()["requests"][0]["id"];
            assert_eq!(*id, accepted.json()["id"]);
            assert_eq!(response.json()["requests"][0]["owner"], json!(null));
        } else {
            assert_eq!(response.problem(), "access_keys_required");
        }
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
