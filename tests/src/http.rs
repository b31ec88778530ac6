//! A small HTTP/1.1 client that shows exactly what came over the wire and can misbehave.

use crate::{canaries, description};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No answer takes longer than this, or the test fails.
const TIMEOUT: Duration = Duration::from_mins(1);

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// Octets of the body.
    pub body: Vec<u8>,
}

impl Response {
    /// A header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON. Panics if it is none, with the body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "{error} in a body with status {}: {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            )
        })
    }

    /// The `code` of a problem document, after checking that it is a whole one.
    pub fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let document = self.json();
        assert_eq!(document["status"], self.status);
        assert_eq!(document["request_id"].as_str(), self.header("x-request-id"));
        for field in ["type", "title", "detail"] {
            assert!(
                document[field]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{field}: {document}"
            );
        }
        document["code"].as_str().expect("a code").to_owned()
    }
}

/// Connects with time-outs.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a time-out");
    stream.set_write_timeout(Some(TIMEOUT)).expect("a time-out");
    stream
}

/// One request on a connection of its own. What our server answers has to be as `openapi.yaml` says.
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
        .expect("the head is taken");
    stream.write_all(body).expect("the body is taken");
    let response = read(&mut stream, method == "HEAD").expect("an answer");
    canaries::response(response.status, target, &response.body);
    description::check(method, target, &response);
    response
}

/// A request head that announces `body_len` and closes the connection afterwards.
pub fn head(method: &str, target: &str, headers: &[(&str, &str)], body_len: usize) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    if body_len > 0 {
        head.push_str(&["Content-Length: ", &body_len.to_string(), "\r\n"].concat());
    }
    for (name, value) in headers {
        head.push_str(&[name, ": ", value, "\r\n"].concat());
    }
    (head + "\r\n").into_bytes()
}

/// Reads one response from a connection. The error is the socket's, or an early end.
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
            // Reads with a time-out are not taken up again by the kernel after a signal.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    let mut body = bytes.split_off(end + 4);
    let text = String::from_utf8(bytes).expect("headers are ASCII");
    let mut lines = text.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .expect("a status line");
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().expect("a length"));
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
