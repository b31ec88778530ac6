//! The log: the access log, and a reader that stalls.

use bulkhead_tests::fixtures;
use bulkhead_tests::http::request;
use bulkhead_tests::server::Server;
use bulkhead_tests::until;
use serde_json::Value;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn access_log_has_a_line_for_each_request() {
    let server = Server::start_with(&[], &[("BULKHEAD_ACCESS_LOG", "on")]);
    let id = [("X-Request-Id", "the-one")];
    let target = "/livez?secret=in-the-query";
    let response = request(server.address, "GET", target, &id, b"");
    assert_eq!(response.status, 200);
    until("the line is printed", || server.log().contains("the-one"));
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("the-one"))
        .expect("value was seen");
    let line: Value = serde_json::from_str(line).expect("text should be JSON");
    assert_eq!(line["fields"]["request.route"], "/livez");
    assert_eq!(line["fields"]["request.method"], "GET");
    assert_eq!(line["fields"]["peer.address"], "127.0.0.1");
    assert_eq!(line["fields"]["client.address"], "127.0.0.1");
    assert_eq!(line["fields"]["response.status"], 200);
    assert!(line["fields"]["duration_us"].is_u64());
    assert!(!log.contains("in-the-query"));
}

/// Clients can write any address into the header. Only the part that a proxy has added counts.
#[test]
fn forwarded_address_is_logged_only_from_trusted_proxies() {
    for (proxies, client) in [
        ("10.0.0.0/8", "127.0.0.1"),
        ("127.0.0.1,10.0.0.0/8", "9.9.9.9"),
    ] {
        let server = Server::start_with(
            &["--trusted-proxies", proxies],
            &[("BULKHEAD_ACCESS_LOG", "on")],
        );
        let headers = [
            ("X-Request-Id", "the-one"),
            ("X-Forwarded-For", "6.6.6.6, 9.9.9.9, 10.0.0.7"),
        ];
        let response = request(server.address, "PUT", "/livez", &headers, b"");
        assert_eq!(response.status, 405);
        let mut line = Value::Null;
        until("the line is printed", || {
            let log = server.log();
            let lines = log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let mut found = lines.filter(|line: &Value| {
                line["fields"]["request.id"] == "the-one"
                    && line["fields"]["request.method"] == "PUT"
            });
            line = found.next().unwrap_or_default();
            !line.is_null()
        });
        assert_eq!(line["fields"]["peer.address"], "127.0.0.1");
        assert_eq!(line["fields"]["client.address"], client, "{proxies}");
        assert_eq!(line["fields"]["response.status"], 405);
    }
}

/// Sends requests until the queue of the log is full. The log must not be read meanwhile.
fn lose_log_lines(server: &Server) {
    until("log lines are lost", || {
        for _ in 0..50 {
            assert_eq!(server.get("GET", "/livez").status, 200);
        }
        server.sum("bulkhead_log_lines_lost_total", &[]) > 0
    });
}

#[test]
fn stalled_log_reader_delays_no_request_and_lost_lines_are_reported() {
    let variables = [("BULKHEAD_LOG", "trace"), ("BULKHEAD_ACCESS_LOG", "on")];
    let server = Server::start_with(&[], &variables);
    assert_eq!(server.sum("bulkhead_log_lines_lost_total", &[]), 0);
    let log = server.shared_log();
    let stalled = log.lock().expect("thread should not panic");
    lose_log_lines(&server);
    assert_eq!(server.decrypt("topsecret", fixtures::SAMPLE).status, 200);
    drop(stalled);
    let report = "log lines were lost";
    until("the loss is reported", || server.log().contains(report));
    // All lines are complete.
    for line in server.log().lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
}

#[test]
fn stalled_log_reader_does_not_prevent_an_orderly_stop() {
    let variables = [("BULKHEAD_LOG", "trace"), ("BULKHEAD_ACCESS_LOG", "on")];
    let mut server = Server::start_with(&[], &variables);
    let address = server.address.to_string();
    // The pipe is not read until this process has ended.
    let log = server.shared_log();
    let stalled = log.lock().expect("thread should not panic");
    lose_log_lines(&server);
    server.signal("TERM");
    assert!(server.wait(TIMEOUT).success());
    drop(stalled);
    assert!(
        log.lock()
            .expect("thread should not panic")
            .contains(&address)
    );
}
