//! Scripted responses: rare ones of the server, and those that only a proxy between client and
//! server sends.

use super::{Client, ClientSetup, Finished, finish, with_all_clients};
use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::until;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

with_all_clients!(
    client_hides_passphrase_and_retries_overloaded_server,
    client_fails_on_unexpected_status_and_follows_no_redirect,
    client_prints_nothing_of_truncated_response,
    client_waits_for_signature_while_server_is_unavailable,
    client_prints_status_url_after_timeout,
    client_stops_waiting_after_permanent_error,
);

/// A server whose responses are written in the test.
struct ScriptedServer(TcpListener);

impl ScriptedServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port should be free");
        listener
            .set_nonblocking(true)
            .expect("socket option should be set");
        Self(listener)
    }

    fn url(&self) -> String {
        format!(
            "http://{}",
            self.0.local_addr().expect("address should be valid")
        )
    }

    fn next_request(&self) -> PendingRequest {
        let mut accepted = None;
        until("the client sends a request", || {
            accepted = self.0.accept().ok();
            accepted.is_some()
        });
        let (stream, _) = accepted.expect("value was seen");
        stream
            .set_nonblocking(false)
            .expect("socket option should be set");
        PendingRequest::read(stream)
    }

    /// Checks that no request is waiting.
    #[track_caller]
    fn assert_no_request(&self) {
        let waiting = self.0.accept().map_err(|error| error.kind());
        assert_eq!(waiting.err(), Some(ErrorKind::WouldBlock));
    }
}

/// A request without a response so far.
struct PendingRequest {
    stream: TcpStream,
    /// The head is in lower case.
    head: String,
    body: Vec<u8>,
}

impl PendingRequest {
    fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).expect("bytes should arrive");
            assert!(read > 0, "client should send its whole request");
            bytes.extend(&piece[..read]);
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| {
                length.parse().expect("value should be a number")
            });
            if let Some(body) = bytes.get(end + 4..end + 4 + length) {
                let body = body.to_vec();
                return Self { stream, head, body };
            }
        }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("text should be JSON")
    }

    /// The status may be followed by headers.
    fn respond(self, status: &str, body: &str) {
        self.respond_partially(status, body, body.len());
    }

    /// Announces a body of `bytes` bytes, sends `body` and closes the connection.
    fn respond_partially(mut self, status: &str, body: &str, bytes: usize) {
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n");
        let response = [head.as_bytes(), body.as_bytes()].concat();
        self.stream
            .write_all(&response)
            .expect("data should be sent");
    }
}

fn client_hides_passphrase_and_retries_overloaded_server(client: Client) {
    const AWKWARD: &str = "unmistakable \"word\" \\ \\n 100%\twith \u{1}, üñí, $(id) & 'quotes'  ";
    // This part needs no escaping in JSON or in a shell.
    const PART: &str = "unmistakable";
    let server = ScriptedServer::start();
    let setup = ClientSetup::new(client, &server.url());
    let text = format!("> \"quoted\" \\ text\r\n{SAMPLE}");
    let file = setup.file("message.asc", &text);
    let child = setup.start(&["decrypt", &file], &format!("{AWKWARD}\n"));

    let first = server.next_request();
    let request = first.json();
    assert_eq!(request["passphrase"], AWKWARD);
    assert_eq!(
        request["message"]
            .as_str()
            .expect("text should be UTF-8")
            .trim_end(),
        text.trim_end()
    );
    // While the client waits for the response, every local user can see its command line.
    let lines = command_lines();
    let seen = match client {
        Client::Curl => format!("{}/decryptMessage", server.url()),
        Client::Python | Client::Node => file.clone(),
    };
    assert!(lines.iter().any(|line| line.contains(&seen)), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains(PART)));

    let problem = json!({"status": 503, "code": "overloaded", "detail": "Try again."}).to_string();
    first.respond("503 Service Unavailable\r\nRetry-After: 1", &problem);
    let second = server.next_request();
    assert_eq!(second.json(), request);
    if second.head.contains("application/octet-stream") {
        second.respond("200 OK", "plain");
    } else {
        second.respond("200 OK", r#"{"DecryptedMessage": "plain"}"#);
    }
    assert_eq!(finish(child).success(), "plain");

    // Without the header, with a wait beyond the limit, or after a permanent error, the client
    // reports the error.
    for status in [
        "503 Service Unavailable",
        "503 Service Unavailable\r\nRetry-After: 3600",
        "422 Unprocessable Content\r\nRetry-After: 1",
    ] {
        let child = setup.start(&["decrypt", &file], AWKWARD);
        server.next_request().respond(status, &problem);
        let rejected = finish(child);
        assert_eq!(rejected.status, Some(1), "{rejected:?}");
        assert!(rejected.errors.contains("overloaded") && !rejected.errors.contains(PART));
    }
}

/// Returns the command lines of all processes.
fn command_lines() -> Vec<String> {
    let processes = std::fs::read_dir("/proc")
        .expect("/proc should be readable")
        .flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .collect()
}

/// A body that every client would accept with status 200, for any command.
const PLAUSIBLE_BODY: &str =
    r#"{"valid":true,"token":"no","DecryptedMessage":"no","status":"signed","signature":"no"}"#;

/// The commands, with their standard input.
const VERBS: [(&str, &str); 4] = [
    ("decrypt", "a-passphrase-of-scripts\n"),
    ("token", ""),
    ("verify", "abcdef\n"),
    ("sign", ""),
];

fn client_fails_on_unexpected_status_and_follows_no_redirect(client: Client) {
    let server = ScriptedServer::start();
    let redirect_target = ScriptedServer::start();
    let location = format!("Location: {}/", redirect_target.url());
    let setup = ClientSetup::new(client, &server.url());
    let file = setup.file("document", SAMPLE);
    for (verb, input) in VERBS {
        for (status, body) in [
            ("301 Moved Permanently", PLAUSIBLE_BODY),
            ("302 Found", PLAUSIBLE_BODY),
            ("303 See Other", PLAUSIBLE_BODY),
            ("307 Temporary Redirect", PLAUSIBLE_BODY),
            ("308 Permanent Redirect", PLAUSIBLE_BODY),
            ("201 Created", PLAUSIBLE_BODY),
            ("202 Accepted", PLAUSIBLE_BODY),
            ("204 No Content", ""),
            ("206 Partial Content", PLAUSIBLE_BODY),
        ] {
            if (verb, status) == ("sign", "202 Accepted") {
                continue;
            }
            let child = setup.start(&[verb, &file], input);
            let request = server.next_request();
            request.respond(&format!("{status}\r\n{location}"), body);
            let rejected = finish(child);
            assert_eq!(
                (rejected.status, rejected.text()),
                (Some(1), ""),
                "{verb} {status}: {rejected:?}"
            );
            // The error shows only the status, because the body is not a problem document.
            assert!(rejected.errors.contains(&status[..3]), "{rejected:?}");
            assert!(!rejected.errors.contains("valid"), "{rejected:?}");
            server.assert_no_request();
            redirect_target.assert_no_request();
        }
    }
}

fn client_prints_nothing_of_truncated_response(client: Client) {
    let server = ScriptedServer::start();
    let setup = ClientSetup::new(client, &server.url());
    let file = setup.file("message.asc", SAMPLE);
    let child = setup.start(&["decrypt", &file], "a-passphrase-of-scripts");
    server
        .next_request()
        .respond_partially("200 OK", "the beginning", 100);
    let broken = finish(child);
    assert_eq!((broken.status, broken.text()), (Some(1), ""), "{broken:?}");
    assert!(!broken.errors.is_empty() && !broken.errors.contains("beginning"));
    assert!(!broken.errors.contains("Traceback"), "{broken:?}");
}

const STATUS_URL: &str = "/crypto/requests/1";
const ACCEPTED: &str = r#"{"id":"1","status":"pending","status_url":"/crypto/requests/1"}"#;
const PENDING: &str = r#"{"id":"1","notification":{"status":"none"},"status":"pending"}"#;
const SIGNED: &str =
    r#"{"id":"1","notification":{"status":"none"},"signature":"Sig=","status":"signed"}"#;

/// A client whose request to sign was accepted with 202.
struct PendingSignature {
    server: ScriptedServer,
    setup: ClientSetup,
    child: std::process::Child,
}

impl PendingSignature {
    fn start(client: Client, wait_seconds: u32) -> Self {
        let server = ScriptedServer::start();
        let mut setup = ClientSetup::new(client, &server.url());
        setup.wait_seconds = wait_seconds;
        let child = setup.start(&["sign", &setup.file("text", "a text of scripts")], "");
        server
            .next_request()
            .respond("202 Accepted\r\nRetry-After: 1", ACCEPTED);
        Self {
            server,
            setup,
            child,
        }
    }

    /// Waits for the client's request for its signature.
    fn next_request(&self) -> PendingRequest {
        let request = self.server.next_request();
        let expected = format!("get {STATUS_URL} http/1.1\r\n");
        assert!(request.head.starts_with(&expected), "{}", request.head);
        request
    }

    /// Stops the server and waits for the client to end.
    fn finish(self) -> Finished {
        drop(self.server);
        finish(self.child)
    }

    #[track_caller]
    fn expect_timeout(self) {
        let status_url = format!("{}{STATUS_URL}\n", self.setup.url);
        let pending = self.finish();
        assert_eq!(
            (pending.status, pending.text()),
            (Some(75), ""),
            "{pending:?}"
        );
        assert!(pending.errors.ends_with(&status_url), "{pending:?}");
        assert!(!pending.errors.contains("Traceback"), "{pending:?}");
    }
}

fn client_waits_for_signature_while_server_is_unavailable(client: Client) {
    let waiting = PendingSignature::start(client, 60);
    // No response, and half a response.
    drop(waiting.next_request());
    waiting
        .next_request()
        .respond_partially("200 OK", &SIGNED[..20], SIGNED.len());
    let problem = json!({"code": "store_unavailable", "detail": "Try again."}).to_string();
    for (status, body) in [
        ("502 Bad Gateway", "<html>"),
        ("503 Service Unavailable", problem.as_str()),
        ("503 Service Unavailable\r\nRetry-After: 1", &problem),
        ("504 Gateway Timeout", ""),
        ("200 OK", PENDING),
        ("200 OK", SIGNED),
    ] {
        waiting.next_request().respond(status, body);
    }
    assert_eq!(waiting.finish().success(), "Sig=\n");
}

fn client_prints_status_url_after_timeout(client: Client) {
    const WAIT_SECONDS: u32 = 3;
    let start = Instant::now();
    PendingSignature::start(client, WAIT_SECONDS).expect_timeout();
    // The client does not start a pause that exceeds the limit, so that it may end up to a second
    // early.
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(u64::from(WAIT_SECONDS) - 1),
        "{waited:?}"
    );

    // The server asks for a longer pause than the limit allows.
    let waiting = PendingSignature::start(client, 60);
    let request = waiting.next_request();
    request.respond("503 Service Unavailable\r\nRetry-After: 3600", "");
    waiting.expect_timeout();
}

fn client_stops_waiting_after_permanent_error(client: Client) {
    let problem = json!({"code": "not_found", "detail": "No such request."}).to_string();
    for (status, body) in [
        ("404 Not Found\r\nRetry-After: 1", problem.as_str()),
        ("500 Internal Server Error", ""),
        ("202 Accepted\r\nRetry-After: 1", SIGNED),
        ("302 Found\r\nLocation: /", SIGNED),
    ] {
        let waiting = PendingSignature::start(client, 60);
        waiting.next_request().respond(status, body);
        let ended = waiting.finish();
        assert_eq!((ended.status, ended.text()), (Some(1), ""), "{ended:?}");
        assert!(ended.errors.contains(&status[..3]), "{ended:?}");
        assert_eq!(
            ended.errors.contains("not_found"),
            body == problem,
            "{ended:?}"
        );
    }
}
