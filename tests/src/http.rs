//! A small HTTP/1.1 client that shows exactly what the server sent, and that can misbehave.

use crate::{canaries, description};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The maximum time to wait for a response.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A response of the server.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers in the order in which they were sent, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns a header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Parses the body as JSON. The panic of a failure shows the body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "body with status {} should be JSON: {error}: {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            )
        })
    }

    /// Returns the `code` of a problem document, after checking that the document is complete.
    pub fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let document = self.json();
        assert_eq!(document["status"], self.status);
        assert_eq!(document["request_id"].as_str(), self.header("x-request-id"));
        for field in ["title", "detail"] {
            assert!(
                document[field]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{field}: {document}"
            );
        }
        let code = document["code"].as_str().expect("code should be a string");
        assert_eq!(document["type"], format!("/problems/{code}"));
        code.to_owned()
    }
}

/// Connects, with time-outs for reading and writing.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("server should accept the connection");
    stream
        .set_read_timeout(Some(TIMEOUT))
        .expect("time-out should be set");
    stream
        .set_write_timeout(Some(TIMEOUT))
        .expect("time-out should be set");
    stream
}

/// Sends one request on its own connection, and checks Bulkhead's response against `openapi.yaml`.
#[track_caller]
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    canaries::request(target, headers, body);
    let mut stream = connect(address);
    stream
        .write_all(&head(method, target, headers, body.len()))
        .expect("head should be sent");
    stream.write_all(body).expect("body should be sent");
    let response = read(&mut stream, method == "HEAD").expect("response should arrive");
    canaries::response(response.status, target, &response.body);
    description::check(method, target, &response);
    response
}

/// Returns a request head with a body length of `body_len`, which closes the connection after the
/// response.
pub fn head(method: &str, target: &str, headers: &[(&str, &str)], body_len: usize) -> Vec<u8> {
    let mut head =
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    if body_len > 0 {
        head.push_str(&["Content-Length: ", &body_len.to_string(), "\r\n"].concat());
    }
    for (name, value) in headers {
        head.push_str(&[name, ": ", value, "\r\n"].concat());
    }
    (head + "\r\n").into_bytes()
}

/// Reads one response from a connection.
///
/// # Errors
///
/// The socket's error, or `UnexpectedEof` if the response is incomplete.
pub fn read(stream: &mut impl Read, no_body: bool) -> std::io::Result<Response> {
    let early = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) => return Err(early()),
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            // The kernel does not resume a read with a time-out after a signal.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    let mut body = bytes.split_off(end + 4);
    let text = String::from_utf8(bytes).expect("headers should be ASCII");
    let mut lines = text.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .expect("status line should be valid");
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| {
            value.parse().expect("length should be a number")
        });
    if !no_body {
        let have = body.len();
        body.resize(length, 0);
        if have < length {
            stream.read_exact(&mut body[have..])?;
        }
    }
    Ok(Response {
        status,
        headers,
        body,
    })
}
