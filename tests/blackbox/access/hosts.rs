//! The hosts that requests may name, and the warning of an open server.

use bulkhead_tests::http::{connect, read};
use bulkhead_tests::server::{Server, run};
use serde_json::json;
use std::io::Write as _;

/// Returns the status and the code of `GET /livez` with this host.
fn status(server: &Server, host: &str) -> (u16, Option<String>) {
    let mut stream = connect(server.address);
    let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("request should be sent");
    let response = read(&mut stream, false).expect("response should arrive");
    let code = response.json()["code"].as_str().map(str::to_owned);
    (response.status, code)
}

#[test]
fn open_server_on_loopback_rejects_hosts_of_other_pages() {
    let server = Server::shared();
    for host in ["localhost", "127.0.0.1:8080", "[::1]"] {
        assert_eq!(status(server, host), (200, None), "{host}");
    }
    for host in ["evil.example", "localhost.evil.example:8080", ""] {
        let code = Some("misdirected_request".to_owned());
        assert_eq!(status(server, host), (421, code), "{host}");
    }
}

#[test]
fn allowed_hosts_are_accepted_beside_loopback() {
    let server = Server::start(&["--allowed-hosts", "decrypt.example,192.0.2.1"]);
    for (host, expected) in [
        ("decrypt.example:443", 200),
        ("192.0.2.1", 200),
        ("localhost", 200),
        ("evil.example", 421),
    ] {
        assert_eq!(status(&server, host).0, expected, "{host}");
    }
}

#[test]
fn server_with_access_keys_accepts_every_host() {
    let server = super::KeyFile::new().start();
    assert_eq!(status(&server, "decrypt.example").0, 200);
}

#[test]
fn open_server_beyond_loopback_warns_and_stays_ok() {
    let server = Server::start_exactly(&["--listen", "0.0.0.0:0"], &[]);
    let health = server.get("GET", "/health").json();
    assert_eq!(health["status"], "ok");
    let warnings = health["warnings"]
        .as_array()
        .expect("warnings should be an array");
    assert_eq!(warnings.len(), 1);
    let warning = warnings[0].as_str().expect("warning should be a string");
    assert!(warning.contains("--access-keys"), "{warning}");
    assert!(
        server.log().contains("the server has no access keys"),
        "{}",
        server.log()
    );
    assert_eq!(status(&server, "any.example").0, 200);

    let health = Server::shared().get("GET", "/health").json();
    assert_eq!(health["warnings"], json!([]));
    let check = |listen| {
        let output = run(&["check-config", "--listen", listen], &[]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("output should be UTF-8")
    };
    assert!(check("0.0.0.0:80").contains("\nwarning: the server has no access keys"));
    assert!(!check("127.0.0.1:80").contains("warning"));
}
