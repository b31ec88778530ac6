//! `GET /metrics`: formats and counts.

use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::http::{Response, connect, request};
use bulkhead_tests::server::Server;
use bulkhead_tests::until;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

const OPEN_METRICS: &str = "application/openmetrics-text";

fn metrics(server: &Server, accept: Option<&str>) -> Response {
    let headers: Vec<_> = accept
        .map(|accept| ("Accept", accept))
        .into_iter()
        .collect();
    let response = request(server.address, "GET", "/metrics", &headers, b"");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("vary"), Some("Accept"));
    response
}

#[test]
fn metrics_format_follows_the_accept_header() {
    let server = Server::start(&[]);
    let json = "application/json";
    let prometheus_server = "application/openmetrics-text;version=1.0.0;q=0.5,\
        application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, content_type) in [
        (None, json),
        (Some("*/*"), json),
        (Some("application/json"), json),
        (
            Some("text/plain"),
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (
            Some(OPEN_METRICS),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        (
            Some(prometheus_server),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        let response = metrics(&server, accept);
        assert_eq!(
            response.header("content-type"),
            Some(content_type),
            "{accept:?}"
        );
    }
    let image = request(
        server.address,
        "GET",
        "/metrics",
        &[("Accept", "image/png")],
        b"",
    );
    assert_eq!(
        (image.status, image.problem().as_str()),
        (406, "not_acceptable")
    );
    assert_eq!(server.get("HEAD", "/metrics").status, 200);
}

#[test]
fn requests_are_counted_by_route_and_status() {
    let server = Server::start_with(&[], &[("SECRET", "s")]);
    for _ in 0..3 {
        assert_eq!(server.decrypt("topsecret", SAMPLE).status, 200);
    }
    assert_eq!(server.decrypt("wrong", SAMPLE).status, 422);
    assert_eq!(
        request(server.address, "POST", "/token", &[], b"x").status,
        200
    );
    assert_eq!(server.get("GET", "/made/up/by/a/client").status, 404);
    assert_eq!(server.get("BREW", "/token").status, 405);
    let mut nonsense = connect(server.address);
    nonsense
        .write_all(b"nonsense\r\n\r\n")
        .expect("data should be sent");
    nonsense
        .read_to_end(&mut Vec::new())
        .expect("connection should end");
    let requests = "bulkhead_http_requests_total";
    for (route, status, count) in [
        ("/decryptMessage", "200", 3),
        ("/decryptMessage", "422", 1),
        ("/token", "200", 1),
        ("/token", "405", 1),
        ("unknown", "404", 1),
        ("malformed", "400", 1),
    ] {
        let labels = [("route", route), ("status", status)];
        assert_eq!(server.sum(requests, &labels), count, "{labels:?}");
    }
    let durations = "bulkhead_http_request_duration_seconds_count";
    assert_eq!(server.sum(durations, &[("route", "/decryptMessage")]), 4);
    let instances = "bulkhead_sandbox_instances_total";
    let answered = |component| [("component", component), ("end", "answered")];
    // Each component described itself once at the start.
    assert_eq!(server.sum(instances, &answered("decrypt")), 4 + 1);
    assert_eq!(server.sum(instances, &answered("token")), 1 + 1);
    // Four samples of two passes, each 12,058,624 bytes.
    assert_eq!(
        server.sum("bulkhead_kdf_hashed_bytes_total", &[]),
        4 * 24_117_248
    );
    assert!(
        server.sum(
            "bulkhead_sandbox_memory_high_water_bytes",
            &[("component", "decrypt")]
        ) > 1 << 20
    );
}

#[test]
fn timeouts_and_disconnects_are_counted() {
    let server = Server::start(&["--decrypt-timeout", "5ms", "--guest-memory-max", "16MiB"]);
    let default = bulkhead_tests::fixtures::text("bench/default.asc");
    // On a busy machine the time may have passed in the key-derivation queue, which is a different
    // error.
    until("the timeout is reached", || {
        server.decrypt("topsecret", &default).problem() == "too_costly"
    });
    let instances = "bulkhead_sandbox_instances_total";
    assert_eq!(server.sum(instances, &[("end", "deadline")]), 1);

    // Clients that disconnect before their response. On a busy machine a response may be sent
    // before the server notices, so that this repeats.
    let server = Server::start(&[]);
    let body = serde_json::json!({"passphrase": "topsecret", "message": default}).to_string();
    let head = format!(
        "POST /decryptMessage HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    until("a disconnect is counted", || {
        let mut stream = connect(server.address);
        stream
            .write_all(head.as_bytes())
            .expect("data should be sent");
        stream
            .write_all(body.as_bytes())
            .expect("data should be sent");
        drop(stream);
        let hung_up = [("status", "hung_up")];
        let missed = server.samples("bulkhead_http_requests_total", &hung_up);
        missed.iter().any(|sample| sample["value"] != 0)
    });
}

/// The parsers of Prometheus' own Python client read both text formats.
#[test]
#[ignore = "needs Python: run_tests.sh installs prometheus_client"]
fn python_parses_both_text_formats() {
    let server = Server::start_with(&[], &[("SECRET", "s")]);
    assert_eq!(server.decrypt("topsecret", SAMPLE).status, 200);
    assert_eq!(
        request(server.address, "POST", "/token", &[], b"x").status,
        200
    );
    for (accept, module) in [
        ("text/plain", "prometheus_client.parser"),
        (OPEN_METRICS, "prometheus_client.openmetrics.parser"),
    ] {
        let text = metrics(&server, Some(accept)).body;
        let found = parsed_by_python(module, &text);
        let sample = |name: &str, route: &str| {
            found
                .as_array()
                .expect("value should be an array")
                .iter()
                .any(|sample| sample[0] == name && sample[1]["route"] == route && sample[2] == 1.0)
        };
        assert!(
            sample("bulkhead_http_requests_total", "/decryptMessage"),
            "{found}"
        );
        assert!(
            sample("bulkhead_http_request_duration_seconds_count", "/token"),
            "{found}"
        );
    }
}

/// Returns every sample as name, labels and value.
fn parsed_by_python(module: &str, text: &[u8]) -> Value {
    let program = format!(
        "import json, sys\n\
         from {module} import text_string_to_metric_families as parse\n\
         families = list(parse(sys.stdin.read()))\n\
         assert len({{family.name for family in families}}) == len(families), 'a family twice'\n\
         print(json.dumps([[s.name, s.labels, s.value] for f in families for s in f.samples]))"
    );
    let mut python = Command::new("python3")
        .args(["-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 should start");
    python
        .stdin
        .take()
        .expect("stream should be piped")
        .write_all(text)
        .expect("data should be sent");
    let output = python.wait_with_output().expect("python3 should end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(text));
    serde_json::from_slice(&output.stdout).expect("text should be JSON")
}

#[test]
fn queue_metrics_list_every_queue() {
    // Without a signing API, each component in use has a queue.
    let health = Server::shared().get("GET", "/health").json();
    let components = health["components"]
        .as_array()
        .expect("value should be an array");
    let mut names: Vec<_> = components
        .iter()
        .filter_map(|it| it["name"].as_str())
        .collect();
    names.sort_unstable();
    assert!(names.starts_with(&["decrypt"]), "{names:?}");
    for name in [
        "bulkhead_queue_waiting",
        "bulkhead_queue_oldest_age_seconds",
    ] {
        let samples = Server::shared().samples(name, &[]);
        let mut queues: Vec<_> = samples
            .iter()
            .filter(|sample| sample["value"].as_f64().is_some_and(|value| value >= 0.0))
            .filter_map(|sample| sample["labels"]["queue"].as_str())
            .collect();
        queues.sort_unstable();
        assert_eq!(queues, names, "{name}");
    }
}
