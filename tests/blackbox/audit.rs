//! The audit log.

use crate::access::{KeyFile, send, send_with};
use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::http::{Response, connect, head, request};
use bulkhead_tests::server::{Server, binary, run};
use bulkhead_tests::until;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{PipeReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// More than the time-out of a required line in these tests, on a slow machine.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(20);

/// A folder with an audit log.
struct AuditLog(TempDir);

impl AuditLog {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder should be created"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("audit.log")
    }

    fn flags(&self) -> [String; 2] {
        ["--audit-log".to_owned(), self.path().display().to_string()]
    }

    /// Returns the complete lines.
    fn lines(&self) -> Vec<Value> {
        lines(&self.path())
    }

    /// Waits for a line of a request with this id.
    fn line(&self, request_id: &str) -> Value {
        let mut found = Value::Null;
        until("the line is written", || {
            let mut lines = self.lines().into_iter();
            let line = lines.find(|line| line["request_id"] == request_id);
            found = line.unwrap_or_default();
            !found.is_null()
        });
        found
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.split_inclusive('\n');
    let complete = lines.filter(|line| line.ends_with('\n') && line.len() > 1);
    complete
        .map(|line| serde_json::from_str(line).expect("line should be JSON"))
        .collect()
}

fn make_token(server: &Server) -> Response {
    request(server.address, "POST", "/token", &[], b"12345")
}

/// Starts an open server with a limit on the size of files, in KiB, which stands for a full disk.
fn start_with_full_disk(log: &AuditLog, flags: &str) -> Server {
    let [flag, path] = log.flags();
    // The limit also applies to images of components in memory. Most of it is used up by a long line.
    let line = json!({"request_id": "0".repeat((FILE_KIB_MAX - 8) * 1024)});
    std::fs::write(log.path(), format!("{line}\n")).expect("file should be written");
    let command = format!(
        "ulimit -f {FILE_KIB_MAX}; exec {} --listen 127.0.0.1:0 {flag} {path} {flags}",
        binary().display()
    );
    Server::start_command(
        Command::new("bash").args(["-c", &command]),
        &[("SECRET", "a secret of more than thirty-two bytes")],
    )
}

/// Limit on the size of files, in KiB.
const FILE_KIB_MAX: usize = 4096;

#[test]
fn request_has_one_line_with_caller_and_outcome_and_nothing_confidential() {
    let log = AuditLog::new();
    let mut file = KeyFile::new();
    let key = file.add("ci", &["token:make", "decrypt", "observe"]);
    let other = file.add("other", &["sign"]);
    let [flag, path] = log.flags();
    let server = file.start_with_flags(&[&flag, &path, "--trusted-proxies", "127.0.0.1"]);
    let authorization = format!("Bearer {key}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("X-Request-Id", "the-one"),
        ("X-Forwarded-For", "192.0.2.7"),
    ];
    let body = b"a confidential body";
    let response = request(server.address, "POST", "/token", &headers, body);
    assert_eq!(response.status, 200);
    let health = send(&server, &key, "GET", "/health").json();
    assert_eq!(health["audit"], json!({"status": "ok", "why": null}));
    let components = health["components"].as_array().expect("an array");
    let token = components.iter().find(|it| it["name"] == "token");
    let mut line = log.line("the-one");
    assert!(line["duration_us"].is_u64() && line["time"].is_string());
    line["duration_us"] = json!(null);
    line["time"] = json!(null);
    let digest = file.entries[0]["keys"][0]["sha256"].as_str();
    assert_eq!(
        line,
        json!({
            "time": null,
            "event": "request",
            "request_id": "the-one",
            "key": "ci",
            "credential": "key",
            "fingerprint": digest.expect("digest should be a string")[..8],
            "peer": "127.0.0.1",
            "client": "192.0.2.7",
            "method": "POST",
            "route": "/token",
            "status": 200,
            "code": null,
            "received_bytes": body.len(),
            "sent_bytes": response.body.len(),
            "duration_us": null,
            "component": token.expect("component should be listed")["sha256"],
        })
    );
    // A rejection of a valid key has a line too.
    let id = [("X-Request-Id", "rejected")];
    let response = send_with(&server, &other, "POST", "/token", &id);
    assert_eq!(response.status, 403);
    let line = log.line("rejected");
    assert_eq!(
        (&line["key"], &line["status"], &line["code"]),
        (&json!("other"), &json!(403), &json!("missing_scope"))
    );
    // A failed message names the component.
    let body = json!({"passphrase": "a wrong passphrase", "message": SAMPLE}).to_string();
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        ("X-Request-Id", "failed"),
    ];
    let target = "/decryptMessage";
    let response = request(server.address, "POST", target, &headers, body.as_bytes());
    assert_eq!(response.status, 422);
    let line = log.line("failed");
    assert_eq!(
        (&line["code"], &line["received_bytes"]),
        (&json!("undecryptable"), &json!(body.len()))
    );
    assert_eq!(line["component"].as_str().map(str::len), Some(64));
    // A client that closes the connection reads no response.
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        ("X-Request-Id", "closed"),
        ("Expect", "100-continue"),
    ];
    let mut stream = connect(server.address);
    let head = head("POST", target, &headers, 100);
    stream.write_all(&head).expect("head should be sent");
    stream.read_exact(&mut [0; 8]).expect("server should read");
    drop(stream);
    let line = log.line("closed");
    // The server may notice the end of the body first.
    assert!(
        [json!(null), json!(400)].contains(&line["status"]),
        "{line}"
    );
    assert_eq!(line["key"], "ci");
    // Requests to open routes and to `/health` without a key have no line.
    for target in ["/livez", "/health"] {
        assert_eq!(server.get("GET", target).status, 200);
    }
    let id = [("X-Request-Id", "last")];
    send_with(&server, &key, "GET", "/metrics", &id);
    log.line("last");
    let ids: Vec<_> = log.lines().iter().map(|it| it["route"].clone()).collect();
    let routes = ["/token", "/health", "/token", target, target, "/metrics"];
    assert_eq!(json!(ids), json!(routes));
    let text = std::fs::read_to_string(log.path()).expect("file should be readable");
    for secret in [key.as_str(), &other, "confidential", "passphrase"] {
        assert!(!text.contains(secret), "{text}");
    }
    let mode = log.path().metadata().expect("file should exist");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn requests_of_an_open_server_have_lines_without_a_key() {
    let log = AuditLog::new();
    let flags = log.flags();
    let flags = flags.each_ref().map(String::as_str);
    let server = Server::start_with(&flags, &[("SECRET", "s")]);
    assert_eq!(make_token(&server).status, 200);
    until("the line is written", || !log.lines().is_empty());
    let line = &log.lines()[0];
    assert_eq!(
        (&line["key"], &line["fingerprint"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(
        (&line["route"], &line["status"]),
        (&json!("/token"), &json!(200))
    );
}

#[test]
fn rejections_without_a_valid_key_are_a_line_for_each_address() {
    let log = AuditLog::new();
    let mut file = KeyFile::new();
    file.add("ci", &["token:make"]);
    let [flag, path] = log.flags();
    let mut server = file.start_with_flags(&[
        &flag,
        &path,
        "--audit-rejections-interval",
        "500ms",
        "--failed-attempts-rate",
        "100",
        "--trusted-proxies",
        "127.0.0.1",
    ]);
    let count = 150;
    for number in 0..count {
        let client = if number % 3 == 0 {
            "2001:db8::1"
        } else {
            "192.0.2.1"
        };
        let forwarded = [("X-Forwarded-For", client)];
        send_with(&server, "bh_wrong", "POST", "/token", &forwarded);
    }
    assert_eq!(server.get("GET", "/nothing").status, 404);
    // The rest is written at the end.
    server.signal("TERM");
    assert!(server.wait(RESPONSE_TIME_MAX).success());
    let lines = log.lines();
    assert!(lines.iter().all(|line| line["event"] == "rejections"));
    // There are fewer lines than requests.
    assert!(lines.len() < count / 2, "{}", lines.len());
    let sum = |client: &str, code: &str| -> u64 {
        let lines = lines.iter().filter(|line| line["client"] == client);
        lines.filter_map(|line| line["codes"][code].as_u64()).sum()
    };
    assert_eq!(sum("192.0.2.1", "unauthenticated"), 100);
    assert_eq!(sum("2001:db8::/64", "unauthenticated"), 50);
    assert_eq!(sum("127.0.0.1", "not_found"), 1);
}

#[test]
fn audit_log_continues_in_a_new_file_after_its_rotation() {
    let log = AuditLog::new();
    let [flag, path] = log.flags();
    let server = Server::start_with(&[&flag, &path], &[("SECRET", "s")]);
    let send = |id: &str| {
        let id = [("X-Request-Id", id)];
        let response = request(server.address, "POST", "/token", &id, b"");
        assert_eq!(response.status, 200);
    };
    send("first");
    log.line("first");
    let old = log.path().with_extension("1");
    std::fs::rename(log.path(), &old).expect("file should be renamed");
    server.signal("HUP");
    until("the file is opened again", || log.path().exists());
    send("second");
    log.line("second");
    let ids = |path: &Path| -> Vec<_> {
        let lines = lines(path).into_iter();
        lines.map(|line| line["request_id"].clone()).collect()
    };
    assert_eq!(
        (ids(&old), ids(&log.path())),
        (vec![json!("first")], vec![json!("second")])
    );
}

#[test]
fn failed_rotation_is_shown_until_the_file_is_opened_again() {
    let log = AuditLog::new();
    let [flag, path] = log.flags();
    let server = Server::start_with(&[&flag, &path], &[("SECRET", "s")]);
    make_token(&server);
    std::fs::rename(log.path(), log.path().with_extension("1")).expect("file should be renamed");
    std::fs::create_dir(log.path()).expect("folder should be created");
    server.signal("HUP");
    let audit = || server.get("GET", "/health").json()["audit"].clone();
    until("the failure is shown", || {
        make_token(&server);
        audit()["status"] == "failing"
    });
    std::fs::remove_dir(log.path()).expect("folder should be removed");
    until("the audit log works", || {
        make_token(&server);
        audit()["status"] == "ok"
    });
    assert!(!log.lines().is_empty());
}

#[test]
fn full_disk_delays_no_request_and_lost_lines_are_counted() {
    let log = AuditLog::new();
    let server = start_with_full_disk(&log, "");
    let lost = || server.sum("bulkhead_audit_lines_lost_total", &[]);
    until("lines are lost", || {
        let start = Instant::now();
        assert_eq!(make_token(&server).status, 200);
        assert!(start.elapsed() < RESPONSE_TIME_MAX);
        lost() > 0
    });
    let health = server.get("GET", "/health").json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["audit"]["status"], "failing");
    assert!(server.log().contains("cannot write the audit log"));
    // After there is space again, the audit log continues on a new line.
    let full = log.path().with_extension("full");
    std::fs::copy(log.path(), &full).expect("file should be copied");
    let file = File::options().write(true).open(log.path());
    file.expect("file should be opened")
        .set_len(1)
        .expect("file should be cut");
    until("the audit log works", || {
        make_token(&server);
        server.get("GET", "/health").json()["audit"]["status"] == "ok"
    });
    let text = std::fs::read_to_string(log.path()).expect("file should be readable");
    let (_rest, text) = text.split_once('\n').expect("there should be a line");
    for line in text.lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
}

#[test]
fn required_line_is_written_before_the_response_or_the_response_is_503() {
    let log = AuditLog::new();
    let server = start_with_full_disk(&log, "--audit-required --audit-timeout 5s");
    let mut number = 0;
    loop {
        number += 1;
        let id = number.to_string();
        let headers = [("X-Request-Id", id.as_str())];
        let response = request(server.address, "POST", "/token", &headers, b"");
        if response.status == 503 {
            assert_eq!(response.problem(), "audit_unavailable");
            break;
        }
        assert_eq!(response.status, 200);
        // The line was written before the response, so that the test does not wait for it.
        let lines = log.lines();
        assert!(lines.iter().any(|line| line["request_id"] == id), "{id}");
        assert!(number < 1000, "the disk should be full");
    }
    assert!(number > 5, "{number}");
    assert_eq!(make_token(&server).status, 503);
    // Monitoring sees the failure.
    let health = server.get("GET", "/health").json();
    assert_eq!(health["audit"]["status"], "failing");
    assert!(server.sum("bulkhead_audit_lines_lost_total", &[]) > 0);
    assert_eq!(server.get("GET", "/livez").status, 200);
    // A new file has space.
    std::fs::rename(log.path(), log.path().with_extension("1")).expect("file should be renamed");
    server.signal("HUP");
    until("the audit log works", || make_token(&server).status == 200);
    assert_eq!(server.get("GET", "/health").json()["audit"]["status"], "ok");
}

/// Starts a server whose standard output is a pipe that is not read. Returns the end for reading.
fn start_with_stalled_output(flags: &str) -> (Server, PipeReader) {
    let (reader, writer) = std::io::pipe().expect("pipe should be created");
    let command = format!(
        "exec {} --listen 127.0.0.1:0 --audit-log - --audit-queue-max 64KiB {flags} >/proc/{}/fd/{}",
        binary().display(),
        std::process::id(),
        writer.as_raw_fd()
    );
    let server = Server::start_command(
        Command::new("bash").args(["-c", &command]),
        &[("SECRET", "a secret of more than thirty-two bytes")],
    );
    (server, reader)
}

#[test]
fn stalled_output_delays_no_request_and_no_stop() {
    let (mut server, reader) = start_with_stalled_output("");
    until("lines are lost", || {
        for _ in 0..50 {
            assert_eq!(make_token(&server).status, 200);
        }
        server.sum("bulkhead_audit_lines_lost_total", &[]) > 0
    });
    let health = server.get("GET", "/health").json();
    assert_eq!(health["audit"]["status"], "failing");
    server.signal("TERM");
    assert!(server.wait(RESPONSE_TIME_MAX).success());
    drop(reader);
}

#[test]
fn required_line_is_awaited_for_a_limited_time() {
    let flags = "--audit-required --audit-timeout 300ms";
    let (server, mut reader) = start_with_stalled_output(flags);
    until("the output is full", || {
        let start = Instant::now();
        let response = make_token(&server);
        assert!(start.elapsed() < RESPONSE_TIME_MAX);
        if response.status == 503 {
            assert_eq!(response.problem(), "audit_unavailable");
            assert!(start.elapsed() >= Duration::from_millis(300));
        }
        response.status == 503
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while reader.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
    });
    until("the output is read", || make_token(&server).status == 200);
}

#[test]
fn file_that_cannot_be_opened_stops_the_start() {
    let folder = tempfile::tempdir().expect("folder should be created");
    let missing = folder.path().join("missing/audit.log");
    for path in [folder.path(), &missing] {
        let path = path.to_str().expect("path should be UTF-8");
        for command in ["serve", "check-config"] {
            let listen = ["--listen", "127.0.0.1:0", "--audit-log", path];
            let output = run(&[&[command][..], &listen].concat(), &[]);
            assert!(!output.status.success(), "{command} {path}");
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains("--audit-log"), "{text}");
        }
    }
    let output = run(&["check-config", "--audit-required"], &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        !output.status.success() && text.contains("--audit-required"),
        "{text}"
    );
}
