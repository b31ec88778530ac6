//! Several addresses, Unix sockets, and separate addresses for health and metrics.

use super::file_argument;
use bulkhead_tests::http::{Response, head, read, request};
use bulkhead_tests::server::{Server, run};
use bulkhead_tests::until;
use serde_json::Value;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Returns a field of the log message that lists the addresses.
pub(crate) fn logged(server: &Server, field: &str) -> Vec<String> {
    let log = server.log();
    let entries = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut addresses =
        entries.filter_map(|entry| Some(entry["fields"][field].as_str()?.to_owned()));
    let addresses = addresses.next().expect("addresses should be logged");
    addresses.split(',').map(str::to_owned).collect()
}

fn get(address: &str, target: &str) -> Response {
    let address: SocketAddr = address.parse().expect("address should be valid");
    request(address, "GET", target, &[], b"")
}

fn get_over_unix(path: &Path, target: &str) -> Response {
    let mut stream = UnixStream::connect(path).expect("server should accept the connection");
    stream
        .write_all(&head("GET", target, &[], 0))
        .expect("request should be sent");
    read(&mut stream, false).expect("response should arrive")
}

#[test]
fn every_address_serves_and_the_socket_is_removed_at_the_end() {
    let folder = tempfile::tempdir().expect("folder should be created");
    let path = folder.path().join("bulkhead.sock");
    let unix = format!("unix:{}", path.display());
    let listen = format!("127.0.0.1:0,{unix}");
    let mut server = Server::start_exactly(&["--listen", &listen, "--listen", "[::1]:0"], &[]);
    let addresses = logged(&server, "address");
    assert_eq!(addresses.len(), 3);
    for address in [&addresses[0], &addresses[2]] {
        assert_eq!(get(address, "/livez").status, 200, "{address}");
    }
    assert_eq!(get_over_unix(&path, "/livez").status, 200);
    let mode = std::fs::metadata(&path)
        .expect("socket should exist")
        .permissions()
        .mode();
    assert_eq!(mode & 0o007, 0, "other users must not connect");
    for (listen, is_ready) in [(unix.as_str(), true), ("unix:/nonexistent", false)] {
        let output = run(&["healthcheck", "--listen", listen], &[]);
        assert_eq!(output.status.success(), is_ready, "{output:?}");
    }
    server.signal("TERM");
    assert!(server.wait(Duration::from_secs(30)).success());
    assert!(!path.exists());
}

#[test]
fn observe_addresses_serve_health_and_metrics_alone() {
    let server = Server::start_with(
        &["--observe-listen", "127.0.0.1:0", "--connections-max", "1"],
        &[("SECRET", "a secret of more than thirty-two bytes")],
    );
    let callers = server.address.to_string();
    let observers = &logged(&server, "observe_address")[0];
    for (target, on_listen, on_observe_listen) in [
        ("/health", 404, 200),
        ("/metrics", 404, 200),
        ("/livez", 200, 200),
        ("/readyz", 200, 200),
        ("/openapi.json", 200, 200),
        ("/crypto/verify", 503, 404),
    ] {
        assert_eq!(get(&callers, target).status, on_listen, "{target}");
        assert_eq!(get(observers, target).status, on_observe_listen, "{target}");
    }
    // Callers that use up the connections do not keep observers out.
    let only = bulkhead_tests::http::connect(server.address);
    assert_eq!(get(observers, "/metrics").status, 200);
    let output = run(
        &[
            "component",
            "list",
            "--listen",
            &callers,
            "--observe-listen",
            observers,
        ],
        &[],
    );
    assert!(output.status.success(), "{output:?}");
    let healthcheck = ["healthcheck", "--timeout", "200ms", "--listen", &callers];
    assert!(!run(&healthcheck, &[]).status.success());
    drop(only);
    until("a connection is free again", || {
        run(&healthcheck, &[]).status.success()
    });
}

#[test]
fn address_in_use_and_malformed_address_stop_the_start() {
    let folder = tempfile::tempdir().expect("folder should be created");
    let file = folder.path().join("file");
    std::fs::write(&file, "not a socket").expect("file should be written");
    let unix = format!("unix:{}", file_argument(&file));
    for listen in [unix.as_str(), "unix:", "localhost:80", "127.0.0.1:0,"] {
        let output = run(&["serve", "--listen", listen], &[]);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && log.contains("--listen"),
            "{listen}: {log}"
        );
    }
    let content = std::fs::read(&file).expect("file should be readable");
    assert_eq!(content, b"not a socket");
}
