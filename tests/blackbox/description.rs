//! `openapi.yaml` is served, is complete, and passes a generator of requests. The harness checks
//! the responses of all other tests against it (`bulkhead_tests::description`).

mod page;

use crate::relay::{Relay, StoreKind, UpstreamProfile};
use bulkhead_tests::description::document;
use bulkhead_tests::http::request;
use bulkhead_tests::server::Server;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn description_is_served_as_yaml_and_json() {
    let server = Server::shared();
    let get = |path| request(server.address, "GET", path, &[], b"");
    let yaml = get("/openapi.yaml");
    assert_eq!(yaml.header("content-type"), Some("application/yaml"));
    assert!(yaml.body == include_bytes!("../../openapi.yaml"));
    let json = get("/openapi.json");
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(&json.json(), document());
}

#[test]
fn description_example_opens() {
    let operation = &document()["paths"]["/decryptMessage"]["post"];
    let example = |place: &Value| place["examples"]["sample"]["value"].clone();
    let request = example(&operation["requestBody"]["content"]["application/json"]);
    let expected = example(&operation["responses"]["200"]["content"]["application/json"]);
    let response = Server::shared().post(&request.to_string(), &[]);
    assert_eq!(response.json(), expected);
}

/// Returns the statuses and codes in `docs/reference/problems.md`.
pub(crate) fn documented_codes() -> BTreeSet<(u16, String)> {
    let lines = include_str!("../../docs/reference/problems.md").lines();
    lines
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let status = cells.next()?.parse().ok()?;
            let code = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            Some((status, code.to_owned()))
        })
        .collect()
}

#[test]
fn description_and_problems_page_list_the_same_codes() {
    let mut described = BTreeSet::from([
        // These apply to any path. The description has them in words.
        (404, "not_found".to_owned()),
        (405, "method_not_allowed".to_owned()),
    ]);
    for operation in operations() {
        for (status, response) in operation["responses"]
            .as_object()
            .expect("responses should be an object")
        {
            let response = response["$ref"].as_str().map_or(response, |reference| {
                document()
                    .pointer(&reference[1..])
                    .unwrap_or_else(|| panic!("{reference} should exist"))
            });
            let Some(content) = response["content"].get("application/problem+json") else {
                continue;
            };
            let code = &content["schema"]["allOf"][1]["properties"]["code"];
            let codes = code["enum"].as_array().cloned();
            for code in codes.unwrap_or_else(|| vec![code["const"].clone()]) {
                let code = code.as_str().expect("code should be a string").to_owned();
                described.insert((status.parse().expect("status should be a number"), code));
            }
        }
    }
    assert_eq!(described, documented_codes());
}

#[test]
fn every_code_has_a_help_page() {
    let server = Server::shared();
    for (status, code) in documented_codes() {
        let path = format!("/problems/{code}");
        let page = server.get("GET", &path);
        assert_eq!(page.status, 200, "{code}");
        let page = page.json();
        assert_eq!(
            (&page["type"], &page["code"], &page["status"]),
            (&path.as_str().into(), &code.as_str().into(), &status.into())
        );
        let html = request(
            server.address,
            "GET",
            &path,
            &[("Accept", "text/html,*/*;q=0.8")],
            b"",
        );
        assert_eq!(
            html.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let title = page["title"].as_str().expect("title should be a string");
        assert!(
            String::from_utf8_lossy(&html.body).contains(&format!("<h1>{title}</h1>")),
            "{code}"
        );
    }
    let unknown = server.get("GET", "/problems/none");
    assert_eq!(
        (unknown.status, unknown.problem()),
        (404, "not_found".into())
    );
}

fn operations() -> impl Iterator<Item = &'static Value> {
    let paths = document()["paths"]
        .as_object()
        .expect("paths should be an object");
    let items = paths.values().filter_map(Value::as_object);
    items.flat_map(|item| {
        let operations = item.iter().filter(|(name, _)| *name != "parameters");
        operations.map(|(_, operation)| operation)
    })
}

/// A quota that does not limit a generator of requests.
const UNLIMITED: UpstreamProfile = UpstreamProfile {
    calls: 5000,
    window_ms: 1000,
    fail: "0",
    degraded: "0s..0s",
};

#[test]
#[ignore = "needs schemathesis: run_tests.sh installs it"]
fn schemathesis_finds_no_violation() {
    let mut relay = Relay::prepare(StoreKind::Sqlite, &UNLIMITED);
    let key = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/mock/upstream/public-key.pem"
    );
    let further = [
        ("SECRET", "a secret for generated requests"),
        ("BULKHEAD_UPSTREAM_PUBLIC_KEY", key),
    ];
    for (name, value) in further {
        relay.variables.insert(name.to_owned(), value.to_owned());
    }
    relay.run();
    relay.wait_for_calls();
    let address = relay.server().address;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let output = Command::new("python3")
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(format!("{root}/tests/schemathesis.toml"))
        .args(["run", "--url", &format!("http://{address}")])
        .arg(format!("{root}/openapi.yaml"))
        .current_dir(&folder)
        .env(
            "PYTHONPATH",
            std::env::var_os("BULKHEAD_TEST_SCHEMATHESIS").unwrap_or_default(),
        )
        .output()
        .expect("python3 should start");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "schemathesis should find no violation:\n{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tested = format!("{0} selected / {0} total", operations().count());
    assert!(stdout.contains(&tested), "all operations should be tested");
}
