//! HTTP/1.1 at the level of bytes: reads requests, and sends complete or broken responses.

use percent_encoding::percent_decode_str;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const HEAD_BYTES_MAX: usize = 256 * 1024;
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The maximum time without a byte on a connection, which also ends connections that hang.
const IDLE_MAX: Duration = Duration::from_mins(10);

/// Bytes that are not HTTP: a TLS alert, and text that ends like a head.
const GARBAGE: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46 this is not HTTP\xff\xfe\r\n\r\n\x00";

/// The head of a request. If it is malformed, the method or the target is empty.
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    minor_version: char,
    /// The names are in lower case.
    headers: Vec<(String, String)>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (method, target) = (word(), word());
        Self {
            method,
            target,
            minor_version: word().chars().last().unwrap_or('0'),
            headers: lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
        }
    }

    /// Returns a header's first value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(found, _)| found == name);
        header.map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        let end = self.target.find('?').unwrap_or(self.target.len());
        &self.target[..end]
    }

    /// Returns a query parameter, decoded like a form field. Returns `None` if it is missing or not
    /// UTF-8.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let value = query.split('&').find_map(|pair| {
            let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
            (found == name).then_some(value)
        })?;
        let spaced = value.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
        Some(decoded.into_owned())
    }

    fn is_last(&self) -> bool {
        let closes = |value: &str| value.eq_ignore_ascii_case("close");
        self.minor_version != '1' || self.header("connection").is_some_and(closes)
    }
}

/// A well-formed response.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn text(status: u16, body: impl Into<String>) -> Self {
        Self::of("text/plain; charset=utf-8", status, body)
    }

    pub(crate) fn html(status: u16, body: impl Into<String>) -> Self {
        Self::of("text/html; charset=utf-8", status, body)
    }

    pub(crate) fn json(status: u16, body: impl Into<String>) -> Self {
        Self::of("application/json", status, body)
    }

    fn of(media_type: &str, status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", media_type.to_owned())],
            body: body.into(),
        }
    }

    /// A response without a body.
    pub(crate) fn empty(status: u16) -> Self {
        let (headers, body) = (Vec::new(), String::new());
        Self {
            status,
            headers,
            body,
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Formats the head with a length that may differ from the body's.
    fn head(&self, body_len: usize, last: bool) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head += &[name, ": ", value, "\r\n"].concat();
        }
        // RFC 9110 section 8.6: a response with 204 has no `Content-Length`.
        if self.status != 204 {
            head += &["Content-Length: ", &body_len.to_string(), "\r\n"].concat();
        }
        if last {
            head += "Connection: close\r\n";
        }
        head + "\r\n"
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// How a response is sent. The delays of slow modes are between bytes.
pub(crate) enum SendMode {
    Whole,
    Late(Duration),
    SlowHead(Duration),
    Drip(Duration),
    /// Announces a length, sends half of the body, and closes the connection.
    Half,
    Garbage,
    /// Sends nothing until the client closes the connection.
    Hang,
    Reset,
}

/// Handles requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// Returns whether the connection is to be reset before a request is read.
    fn cuts_unread(&self) -> bool {
        false
    }

    /// Called after the head was read, before any byte of the body.
    fn serve(&self, head: &Head, body: Body<'_>) -> io::Result<(Response, SendMode)>;
}

/// Serves one connection until it ends.
pub(crate) fn serve_connection(stream: Arc<TcpStream>, service: &impl Service) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE_MAX))?;
    stream.set_write_timeout(Some(IDLE_MAX))?;
    stream.set_nodelay(true)?;
    let mut connection = Connection {
        stream,
        unread: Vec::new(),
    };
    if service.cuts_unread() {
        return connection.reset();
    }
    let mut is_first = true;
    while !connection.unread.is_empty() || connection.fill()? {
        if !is_first && service.cuts_unread() {
            return connection.reset();
        }
        is_first = false;
        let Some(head) = connection.head()? else {
            let response = Response::text(431, "the head is too long\n");
            return connection.whole(&response, true);
        };
        let mut body_left = head
            .header("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        // Chunked bodies are not supported: the relay and common tools do not send them by default.
        let rejected = if head.header("transfer-encoding").is_some() {
            Some(411)
        } else if body_left > BODY_BYTES_MAX {
            Some(413)
        } else {
            None
        };
        if let Some(status) = rejected {
            return connection.whole(
                &Response::text(status, "send Content-Length, at most 4 MiB\n"),
                true,
            );
        }
        let (response, send_mode) = service.serve(
            &head,
            Body {
                connection: &mut connection,
                bytes_left: &mut body_left,
                continues: head.header("expect").is_some(),
            },
        )?;
        connection.take(body_left)?;
        if !connection.perform(response, &send_mode, head.is_last())? {
            return Ok(());
        }
    }
    Ok(())
}

/// The body of a request, which has not been read yet.
pub(crate) struct Body<'a> {
    connection: &'a mut Connection,
    bytes_left: &'a mut usize,
    continues: bool,
}

impl Body<'_> {
    pub(crate) fn read(self) -> io::Result<Vec<u8>> {
        let bytes = std::mem::take(self.bytes_left);
        if self.continues && bytes > 0 {
            let mut stream = &*self.connection.stream;
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        self.connection.take(bytes)
    }
}

struct Connection {
    /// Shared with the listener, which shuts it down when it closes.
    stream: Arc<TcpStream>,
    /// Bytes that were read and not used yet.
    unread: Vec<u8>,
}

impl Connection {
    /// Reads some bytes. Returns false at the end of the client's data.
    fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        loop {
            match (&*self.stream).read(&mut piece) {
                Ok(bytes) => {
                    self.unread.extend_from_slice(&piece[..bytes]);
                    return Ok(bytes > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a head. Returns `None` if it is too long.
    fn head(&mut self) -> io::Result<Option<Head>> {
        let mut searched = 0;
        loop {
            let unseen = &self.unread[searched..];
            if let Some(at) = unseen.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.unread.split_off(searched + at + 4);
                let head = std::mem::replace(&mut self.unread, rest);
                return Ok(Some(Head::parse(&head)));
            }
            if self.unread.len() > HEAD_BYTES_MAX {
                return Ok(None);
            }
            searched = self.unread.len().saturating_sub(3);
            if !self.fill()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < bytes {
            if !self.fill()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.unread.split_off(bytes);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    /// Sends a response. Returns whether the connection stays open.
    fn perform(
        &mut self,
        mut response: Response,
        send_mode: &SendMode,
        last: bool,
    ) -> io::Result<bool> {
        let mut stream = &*self.stream;
        match *send_mode {
            SendMode::Whole => self.whole(&response, last)?,
            SendMode::Late(wait) => {
                std::thread::sleep(wait);
                self.whole(&response, last)?;
            }
            SendMode::SlowHead(wait) => {
                let head = response.head(response.body.len(), last);
                slowly(stream, head.as_bytes(), wait)?;
                stream.write_all(response.body.as_bytes())?;
            }
            SendMode::Drip(wait) => {
                let head = response.head(response.body.len(), last);
                stream.write_all(head.as_bytes())?;
                slowly(stream, response.body.as_bytes(), wait)?;
            }
            SendMode::Half => {
                // A response with 204 would be complete without a body.
                if response.status == 204 {
                    response.status = 200;
                }
                let sent = response.body.len() / 2;
                let announced = response.body.len().max(64);
                stream.write_all(response.head(announced, last).as_bytes())?;
                stream.write_all(&response.body.as_bytes()[..sent])?;
                return self.end();
            }
            SendMode::Garbage => {
                stream.write_all(GARBAGE)?;
                return self.end();
            }
            SendMode::Hang => {
                while self.fill()? {
                    self.unread.clear();
                }
                return Ok(false);
            }
            SendMode::Reset => {
                self.reset()?;
                return Ok(false);
            }
        }
        Ok(!last)
    }

    fn whole(&self, response: &Response, last: bool) -> io::Result<()> {
        let head = response.head(response.body.len(), last);
        (&*self.stream).write_all(&[head.as_bytes(), response.body.as_bytes()].concat())
    }

    fn end(&self) -> io::Result<bool> {
        self.stream.shutdown(Shutdown::Write)?;
        Ok(false)
    }

    /// Without a linger time, closing the socket sends RST.
    fn reset(&self) -> io::Result<()> {
        rustix::net::sockopt::set_socket_linger(&*self.stream, Some(Duration::ZERO))?;
        Ok(())
    }
}

fn slowly(mut stream: &TcpStream, bytes: &[u8], wait: Duration) -> io::Result<()> {
    for byte in bytes.chunks(1) {
        std::thread::sleep(wait);
        stream.write_all(byte)?;
    }
    Ok(())
}
