//! TLS: the certificate, client certificates, limits on handshakes.

use super::listeners::logged;
use super::{KeyFile, file_argument};
use bulkhead_tests::http::{Response, connect, request};
use bulkhead_tests::server::{Server, run};
use bulkhead_tests::tls::{self, Authority, Identity, read_to_end};
use bulkhead_tests::until;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A folder with the files of TLS, and the authority of the certificate in it.
struct Files {
    folder: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            folder: tempfile::tempdir().expect("folder should be created"),
            authority: Authority::default(),
        };
        files.write(&files.authority.issue("127.0.0.1"));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, identity: &Identity) {
        for (name, content) in [
            ("cert.pem", &identity.certificate),
            ("key.pem", &identity.key),
        ] {
            std::fs::write(self.path(name), content).expect("file should be written");
        }
    }

    fn start(&self, further: &[&str]) -> Server {
        let (certificate, key) = (self.path("cert.pem"), self.path("key.pem"));
        let files = [
            "--tls-cert",
            file_argument(&certificate),
            "--tls-key",
            file_argument(&key),
        ];
        Server::start(&[&files, further].concat())
    }

    fn get(&self, server: &Server, target: &str) -> std::io::Result<Response> {
        tls::request(server.address, &self.authority, None, "GET", target, &[])
    }
}

/// Returns all samples of `/metrics`.
fn samples(metrics: &Value) -> impl Iterator<Item = &Value> {
    let metrics = metrics["metrics"].as_array().into_iter().flatten();
    metrics
        .filter_map(|metric| metric["samples"].as_array())
        .flatten()
}

#[test]
fn tls_listener_serves_https_and_explains_itself_to_plain_http() {
    let files = Files::new();
    let server = files.start(&[]);
    let health = files
        .get(&server, "/health")
        .expect("request should be answered");
    assert_eq!(health.json()["tls"], json!({"status": "ok", "why": null}));
    for (method, body) in [("GET", &b""[..]), ("POST", &vec![b' '; 4 << 20])] {
        let response = request(server.address, method, "/token", &[], body);
        assert_eq!(
            (response.status, response.problem().as_str()),
            (400, "malformed_request")
        );
        let document = response.json();
        let detail = document["detail"]
            .as_str()
            .expect("detail should be a string");
        assert!(detail.contains("https://"), "{detail}");
        assert_eq!(response.header("connection"), Some("close"));
    }
    // Neither TLS nor HTTP.
    let mut stream = connect(server.address);
    stream.write_all(b"\x00\x01").expect("bytes should be sent");
    assert!(read_to_end(&mut stream).is_empty());
    let metrics = files
        .get(&server, "/metrics")
        .expect("request should be answered")
        .json();
    let plain = samples(&metrics).find(|it| {
        it["name"] == "bulkhead_tls_handshake_failures_total"
            && it["labels"]["reason"] == "plain_http"
    });
    assert_eq!(plain.expect("there should be a sample")["value"], 2);
}

#[test]
fn renewed_certificate_is_served_and_a_faulty_one_is_not() {
    let mut files = Files::new();
    let server = files.start(&[]);
    let old = std::mem::take(&mut files.authority);
    files.write(&files.authority.issue("127.0.0.1"));
    until("the new certificate is served", || {
        files.get(&server, "/livez").is_ok()
    });
    let with_old = tls::request(server.address, &old, None, "GET", "/livez", &[]);
    assert!(with_old.is_err());

    let good = files.authority.issue("127.0.0.1");
    let other = files.authority.issue("127.0.0.1");
    let status = || {
        let health = files
            .get(&server, "/health")
            .expect("request should be answered")
            .json();
        let part = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        (part(&health["status"]), part(&health["tls"]["status"]))
    };
    let of = |certificate: &str, key: &str| Identity {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    let cut_off = &good.certificate[..good.certificate.len() / 2];
    for faulty in [
        of("", &good.key),
        of(cut_off, &good.key),
        of(&good.certificate, ""),
        of(&good.certificate, &other.key),
    ] {
        files.write(&faulty);
        server.signal("HUP");
        let failing = ("degraded".to_owned(), "failing".to_owned());
        until("the fault is shown", || status() == failing);
        files.write(&good);
        server.signal("HUP");
        until("the files are good again", || {
            status() == ("ok".to_owned(), "ok".to_owned())
        });
    }
    std::fs::remove_file(files.path("key.pem")).expect("file should be removed");
    server.signal("HUP");
    until("the fault is shown", || status().1 == "failing");
    let metrics = files.get(&server, "/metrics");
    let metrics = metrics.expect("request should be answered").json();
    let samples = metrics["metrics"].as_array().expect("an array").iter();
    let mut samples = samples.filter_map(|it| it["samples"].as_array()).flatten();
    let failures = samples.find(|it| it["name"] == "bulkhead_tls_reload_failures_total");
    assert_eq!(failures.expect("a sample")["value"], 5);
}

#[test]
fn faulty_files_stop_the_start() {
    let files = Files::new();
    let (certificate, key) = (files.path("cert.pem"), files.path("key.pem"));
    let (certificate, key) = (file_argument(&certificate), file_argument(&key));
    let assert_stops = |arguments: &[&str], why: &str| {
        let serve = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        let output = run(&serve, &[]);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && log.contains(why), "{log}");
        let output = run(&[&["check-config"], arguments].concat(), &[]);
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && report.contains(why), "{report}");
    };
    assert_stops(&["--tls-cert", certificate], "--tls-key");
    assert_stops(&["--tls-key", key], "--tls-cert");
    let both = ["--tls-cert", certificate, "--tls-key", key];
    assert_stops(
        &[&both[..], &["--tls-client-ca", certificate]].concat(),
        "--access-keys",
    );
    std::fs::write(
        files.path("key.pem"),
        files.authority.issue("127.0.0.1").key,
    )
    .expect("file should be written");
    assert_stops(&both, "the private key does not belong to the certificate");
    std::fs::remove_file(files.path("cert.pem")).expect("file should be removed");
    assert_stops(&both, "--tls-cert");
}

#[test]
fn handshakes_are_limited_in_time_and_number() {
    let files = Files::new();
    let server = files.start(&["--tls-handshake-timeout", "1s"]);
    let start = Instant::now();
    let mut silent = connect(server.address);
    let mut stalled = connect(server.address);
    // The beginning of a handshake record.
    stalled
        .write_all(&[22, 3, 1])
        .expect("bytes should be sent");
    let response = files
        .get(&server, "/livez")
        .expect("request should be answered");
    assert_eq!(response.status, 200);
    for stream in [&mut silent, &mut stalled] {
        assert!(read_to_end(stream).is_empty());
    }
    assert!(start.elapsed() >= Duration::from_millis(900));

    // One handshake is under way, so that another one waits until it ends.
    let server = files.start(&[
        "--tls-handshake-timeout",
        "60s",
        "--tls-handshakes-max",
        "1",
        "--observe-listen",
        "127.0.0.1:0",
    ]);
    let mut stalled = connect(server.address);
    stalled
        .write_all(&[22, 3, 1])
        .expect("bytes should be sent");
    let mut waiting = None;
    until("a handshake waits for its turn", || {
        let stream = connect(server.address);
        stream
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("time-out should be set");
        let mut stream = tls::start_tls(stream, &files.authority, None);
        let _timed_out = stream.conn.complete_io(&mut stream.sock);
        let is_waiting = stream.conn.is_handshaking();
        waiting = is_waiting.then_some(stream);
        is_waiting
    });
    let mut waiting = waiting.expect("a handshake should wait");
    // Observers do not wait.
    let observe = &logged(&server, "observe_address")[0];
    let observe = observe.parse().expect("address should be valid");
    let response = tls::request(observe, &files.authority, None, "GET", "/livez", &[]);
    let response = response.expect("request should be answered");
    assert_eq!(response.status, 200);
    waiting
        .sock
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("time-out should be set");
    drop(stalled);
    waiting
        .conn
        .complete_io(&mut waiting.sock)
        .expect("handshake should finish");
    assert!(!waiting.conn.is_handshaking());
}

/// TLS accepts a small response before the client receives it.
#[test]
fn unread_small_response_times_out_over_tls() {
    const REQUESTS: usize = 500;
    let files = Files::new();
    let server = files.start(&["--response-timeout", "1s"]);
    let mut unread = tls::start_tls(connect(server.address), &files.authority, None);
    unread
        .write_all(&b"GET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(REQUESTS))
        .expect("requests should be sent");
    unread.flush().expect("requests should be sent");
    let state = || {
        let metrics = files.get(&server, "/metrics");
        let metrics = metrics.expect("request should be answered").json();
        let value = |name: &str, route: Option<&str>| {
            let mut samples = samples(&metrics);
            let sample = samples.find(|it| {
                it["name"] == name && route.is_none_or(|route| it["labels"]["route"] == route)
            });
            sample.map_or(0, |it| it["value"].as_u64().unwrap_or_default())
        };
        (
            value("bulkhead_http_connections", None),
            value("bulkhead_http_requests_total", Some("/openapi.yaml")),
        )
    };
    until("the server has begun", || state().1 > 1);
    until("the connection is closed", || state().0 == 1);
    let responses = usize::try_from(state().1).expect("number should be small");
    assert!(
        (2..REQUESTS).contains(&responses),
        "the buffers should be full: {responses}"
    );
}

#[test]
fn client_certificate_stands_for_the_entry_that_lists_it() {
    let (files, clients) = (Files::new(), Authority::default());
    let authorities = files.path("clients.pem");
    std::fs::write(&authorities, &clients.certificate).expect("file should be written");
    let mut keys = KeyFile::new();
    let key = keys.add("with-key", &["token:make"]);
    let by_digest = clients.issue("client.example");
    let digest: Vec<_> = {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(by_digest.der());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let digest = digest.concat();
    let by_uri = clients.issue("spiffe://example.org/ci");
    keys.entries.push(json!({
        "name": "by-digest", "scopes": ["token:make"], "certificates": [format!("sha256:{digest}")],
    }));
    keys.entries.push(json!({
        "name": "by-uri", "scopes": ["observe"], "certificates": ["spiffe://example.org/ci"],
    }));
    keys.write();
    let path = keys.path();
    let (certificate, private) = (files.path("cert.pem"), files.path("key.pem"));
    let server = Server::start_with(
        &[
            "--tls-cert",
            file_argument(&certificate),
            "--tls-key",
            file_argument(&private),
            "--tls-client-ca",
            file_argument(&authorities),
            "--access-keys",
            file_argument(&path),
        ],
        &[("SECRET", "a secret of more than thirty-two bytes")],
    );
    let status = |identity: Option<&Identity>, key: Option<&str>, method, target| {
        let authorization = key.map(|key| format!("Bearer {key}"));
        let headers: Vec<_> = authorization
            .iter()
            .map(|it| ("Authorization", it.as_str()))
            .collect();
        let response = tls::request(
            server.address,
            &files.authority,
            identity,
            method,
            target,
            &headers,
        );
        response.map(|response| response.status).ok()
    };
    assert_eq!(status(Some(&by_digest), None, "POST", "/token"), Some(200));
    assert_eq!(status(Some(&by_digest), None, "GET", "/metrics"), Some(403));
    assert_eq!(status(Some(&by_uri), None, "GET", "/metrics"), Some(200));
    assert_eq!(status(Some(&by_uri), None, "POST", "/token"), Some(403));
    // A key takes precedence, and a wrong key is not replaced by a certificate.
    assert_eq!(status(None, Some(&key), "POST", "/token"), Some(200));
    assert_eq!(
        status(Some(&by_uri), Some(&key), "POST", "/token"),
        Some(200)
    );
    assert_eq!(
        status(Some(&by_digest), Some("bh_wrong"), "POST", "/token"),
        Some(401)
    );
    assert_eq!(status(None, None, "POST", "/token"), Some(401));
    // Signed by the authority, but in no entry; and of another authority.
    let unknown = clients.issue("spiffe://example.org/other");
    assert_eq!(status(Some(&unknown), None, "POST", "/token"), Some(401));
    let foreign = Authority::default().issue("spiffe://example.org/ci");
    assert_eq!(status(Some(&foreign), None, "GET", "/metrics"), None);

    // Without its entry, the certificate has no rights any more.
    keys.entries.pop();
    keys.write();
    until("the entry is removed", || {
        status(Some(&by_uri), None, "GET", "/metrics") == Some(401)
    });
}

fn variables<'a>(address: &'a str, certificate: &'a str) -> [(&'static str, &'a str); 2] {
    [
        ("BULKHEAD_LISTEN", address),
        ("BULKHEAD_TLS_CERT", certificate),
    ]
}

/// A faulty or newer file does not concern the active certificate, so that the health check must not restart the
/// server. An access key is sent to the right server only.
#[test]
fn healthcheck_uses_tls_and_component_list_accepts_one_certificate() {
    let files = Files::new();
    let server = files.start(&[]);
    let address = server.address.to_string();
    let certificate = files.path("cert.pem");
    let other = files.path("other.pem");
    let issued = files.authority.issue("127.0.0.1");
    std::fs::write(&other, issued.certificate).expect("file should be written");
    let missing = files.path("missing.pem");
    for (command, accepts_others) in [
        (&["healthcheck"][..], true),
        (&["component", "list"], false),
    ] {
        let output = run(command, &variables(&address, file_argument(&certificate)));
        assert!(output.status.success(), "{output:?}");
        let plain = run(
            command,
            &variables(&address, file_argument(&certificate))[..1],
        );
        assert!(!plain.status.success());
        for file in [&other, &missing] {
            let output = run(command, &variables(&address, file_argument(file)));
            assert_eq!(output.status.success(), accepts_others, "{output:?}");
        }
    }
}

#[test]
#[ignore = "needs openssl"]
fn openssl_command_of_the_page_makes_a_certificate() {
    const PAGE: &str = include_str!("../../../docs/security/access.md");
    let start = PAGE
        .find("    openssl req ")
        .expect("page should have the command");
    let lines: Vec<_> = PAGE[start..]
        .lines()
        .take_while(|it| !it.is_empty())
        .collect();
    let folder = tempfile::tempdir().expect("folder should be created");
    let output = std::process::Command::new("sh")
        .args(["-ec", &lines.join("\n")])
        .current_dir(folder.path())
        .output()
        .expect("sh should run");
    assert!(output.status.success(), "{output:?}");
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let certificate = file_argument(&certificate);
    let server = Server::start(&["--tls-cert", certificate, "--tls-key", file_argument(&key)]);
    let mut authority = Authority::default();
    authority.certificate = std::fs::read_to_string(certificate).expect("file should be readable");
    let response = tls::request(server.address, &authority, None, "GET", "/livez", &[]);
    assert_eq!(response.expect("request should be answered").status, 200);
}
