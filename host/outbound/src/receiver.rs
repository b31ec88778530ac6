//! One request to a receiver, and the status of its response, on their own connection.
//!
//! The status line alone decides whether the receiver has accepted a callback. A parser that rejects a
//! header would turn an accepted callback into a failed one, which is repeated for a month. Therefore
//! everything that curl reads as a response is one here.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use hyper::header;
use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, Take, WriteHalf,
};
use tokio::time::{Instant, timeout_at};

use crate::call::{Failure, Limits, Request, Response, StatusLineFault, headers};
use crate::connect::Stream;
use crate::reason::NOT_IN_TIME;
use crate::target::Target;
use crate::tracked_stream::TrackedStream;

/// Maximum number of bytes that are read up to the end of the headers, which is that of curl.
const HEAD_BYTES_MAX: u64 = 300 * 1024;

/// Maximum time for which the rest of a response is read after its status line. A receiver whose
/// connection is closed while it writes may treat that as a failure.
const REST_TIME_MAX: Duration = Duration::from_secs(1);

/// Sends the request and returns the status of the response and `Retry-After`. A response counts from
/// the end of its status line on, whatever comes after it.
pub(crate) async fn deliver(
    stream: Stream,
    target: &Target,
    request: Request,
    limits: Limits,
) -> Result<Response, Failure> {
    let tracked = TrackedStream::new(stream, limits.send_before, usize::MAX);
    let (reader, mut writer) = tokio::io::split(tracked);
    let mut reader = BufReader::new(reader).take(HEAD_BYTES_MAX);
    let response = {
        let mut send = pin!(send(&mut writer, target, request));
        let mut is_sent = false;
        let status = timeout_at(limits.deadline, async {
            let mut read = pin!(read_status(&mut reader));
            loop {
                tokio::select! {
                    biased;
                    status = &mut read => return status,
                    // A receiver may respond and close without reading the request. If nothing was
                    // sent, the read fails, too.
                    _ = &mut send, if !is_sent => is_sent = true,
                }
            }
        });
        match status.await {
            Ok(Ok(status)) => {
                let mut rest = pin!(read_rest(&mut reader, status, limits));
                let retry_after = loop {
                    tokio::select! {
                        biased;
                        retry_after = &mut rest => break retry_after,
                        _ = &mut send, if !is_sent => is_sent = true,
                    }
                };
                Ok(Response {
                    status,
                    retry_after,
                    body: Bytes::new(),
                })
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::TimedOut),
        }
    };
    let tracked = reader.into_inner().into_inner().unsplit(writer);
    match response {
        Ok(response) => {
            tracked.close();
            Ok(response)
        }
        Err(_) if tracked.late => Err(Failure::ConnectedTooLate),
        Err(Failure::TimedOut) if !tracked.sent() => Err(Failure::NotConnected(NOT_IN_TIME)),
        Err(_) if !tracked.sent() => Err(Failure::NotConnected("the connection was reset")),
        Err(failure) => Err(failure),
    }
}

type Reader = Take<BufReader<ReadHalf<TrackedStream>>>;

async fn send(
    writer: &mut WriteHalf<TrackedStream>,
    target: &Target,
    request: Request,
) -> io::Result<()> {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, target.path()).into_bytes();
    for (name, value) in &headers(target, request.headers) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    let length = format!("content-length: {}\r\n\r\n", request.body.len());
    head.extend_from_slice(length.as_bytes());
    writer.write_all(&head).await?;
    writer.write_all(&request.body).await?;
    writer.flush().await
}

/// Returns the status of the first response that is not informational.
async fn read_status(reader: &mut Reader) -> Result<u16, Failure> {
    loop {
        let line = read_line(reader).await?;
        // A parser should ignore an empty line here (RFC 9112, section 2.2).
        if line.is_empty() {
            continue;
        }
        let status = parse_status(&line).map_err(Failure::StatusLine)?;
        if status >= 200 {
            return Ok(status);
        }
        while !read_line(reader).await?.is_empty() {}
    }
}

/// Returns the next line without its end, which is LF or CRLF.
async fn read_line(reader: &mut Reader) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    let read = reader.read_until(b'\n', &mut line).await;
    if line.pop_if(|byte| *byte == b'\n').is_none() {
        return Err(match read {
            Ok(_) if reader.limit() == 0 => Failure::TooLong,
            // The first bytes are enough to see that this is not HTTP.
            Ok(_) if !line.is_empty() => match parse_status(&line) {
                Err(fault @ (StatusLineFault::Protocol | StatusLineFault::Tls)) => {
                    Failure::StatusLine(fault)
                }
                _ => Failure::CutOff,
            },
            _ => Failure::CutOff,
        });
    }
    line.pop_if(|byte| *byte == b'\r');
    Ok(line)
}

/// Returns the status of a status line. Accepts any version and any reason, with or without space
/// before it.
fn parse_status(line: &[u8]) -> Result<u16, StatusLineFault> {
    // The type of a record (handshake or alert), and the first byte of its version.
    if line.starts_with(b"\x15\x03") || line.starts_with(b"\x16\x03") {
        return Err(StatusLineFault::Tls);
    }
    let rest = match line.split_at_checked(5) {
        Some((protocol, rest)) if protocol.eq_ignore_ascii_case(b"HTTP/") => rest,
        _ => return Err(StatusLineFault::Protocol),
    };
    let is_version = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let version = rest.iter().take_while(|byte| is_version(byte)).count();
    let blanks = &rest[version..];
    let status = blanks.trim_ascii_start();
    if version == 0 || blanks.len() == status.len() {
        return Err(StatusLineFault::Protocol);
    }
    let digits = status
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = std::str::from_utf8(&status[..digits]).unwrap_or_default();
    match number.parse() {
        Ok(101) => Err(StatusLineFault::SwitchingProtocols),
        Ok(status @ 100..=999) if digits == 3 => Ok(status),
        _ => Err(StatusLineFault::Status),
    }
}

/// Reads the rest of the response for a short time. Returns the value of `Retry-After` if it arrives
/// and is ASCII. Faults are ignored.
async fn read_rest(reader: &mut Reader, status: u16, limits: Limits) -> Option<String> {
    let mut retry_after = None;
    let rest = async {
        let mut length = match status {
            204 | 304 => Some(0),
            _ => None,
        };
        let mut is_chunked = false;
        loop {
            let line = read_line(reader).await?;
            if line.is_empty() {
                break;
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
            let is =
                |header: header::HeaderName| name.eq_ignore_ascii_case(header.as_str().as_bytes());
            let text = str::from_utf8(value).ok().filter(|text| text.is_ascii());
            if is(header::RETRY_AFTER) {
                retry_after = text.map(str::to_owned);
            } else if is(header::CONTENT_LENGTH) {
                length = length.or_else(|| text?.parse().ok());
            } else if is(header::TRANSFER_ENCODING) {
                is_chunked = true;
            }
        }
        let body_max = u64::try_from(limits.response_bytes_max).unwrap_or(u64::MAX);
        reader.set_limit(body_max);
        match length {
            Some(length) => skip(reader, length).await,
            None if is_chunked => skip_chunks(reader).await,
            None => skip(reader, body_max).await,
        }
    };
    let until = limits.deadline.min(Instant::now() + REST_TIME_MAX);
    let _: Result<Result<(), Failure>, _> = timeout_at(until, rest).await;
    retry_after
}

/// Discards bytes, up to the limit of the reader.
async fn skip(reader: &mut Reader, bytes: u64) -> Result<(), Failure> {
    let mut left = bytes;
    while left > 0 {
        let available = reader.fill_buf().await.map_err(|_| Failure::CutOff)?.len();
        if available == 0 {
            return Err(Failure::CutOff);
        }
        let read = available.min(usize::try_from(left).unwrap_or(usize::MAX));
        reader.consume(read);
        left -= u64::try_from(read).unwrap_or(u64::MAX);
    }
    Ok(())
}

/// Discards a body in chunks.
async fn skip_chunks(reader: &mut Reader) -> Result<(), Failure> {
    loop {
        let line = read_line(reader).await?;
        let digits = line
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let number = str::from_utf8(&line[..digits]).unwrap_or_default();
        let size = u64::from_str_radix(number, 16).map_err(|_| Failure::Malformed)?;
        if size == 0 {
            while !read_line(reader).await?.is_empty() {}
            return Ok(());
        }
        skip(reader, size).await?;
        read_line(reader).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_line_is_read_as_curl_reads_it() {
        for (line, status) in [
            ("HTTP/1.1 200 OK", 200),
            ("HTTP/1.0 204", 204),
            ("HTTP/1.1 200OK", 200),
            ("HTTP/1.1  503 Busy", 503),
            ("HTTP/1.1\t202\tOK", 202),
            ("HTTP/2 200", 200),
            ("http/1.1 200 OK", 200),
            ("HTTP/1.1 999 \u{1}\u{e4}", 999),
        ] {
            assert_eq!(parse_status(line.as_bytes()), Ok(status), "{line}");
        }
        for (line, fault) in [
            ("garbage", StatusLineFault::Protocol),
            ("HTTP", StatusLineFault::Protocol),
            ("HTTP/1.1", StatusLineFault::Protocol),
            ("HTTP/ 200", StatusLineFault::Protocol),
            ("HTTP/x 200", StatusLineFault::Protocol),
            ("SSH-2.0-OpenSSH_9.9", StatusLineFault::Protocol),
            ("\u{feff}HTTP/1.1 200 OK", StatusLineFault::Protocol),
            ("\u{16}\u{3}\u{1}", StatusLineFault::Tls),
            ("\u{15}\u{3}\u{3}\0\u{2}", StatusLineFault::Tls),
            ("HTTP/1.1 ", StatusLineFault::Status),
            ("HTTP/1.1 20 OK", StatusLineFault::Status),
            ("HTTP/1.1 2000 OK", StatusLineFault::Status),
            ("HTTP/1.1 099 OK", StatusLineFault::Status),
            ("HTTP/1.1 OK 200", StatusLineFault::Status),
            (
                "HTTP/1.1 101 Switching",
                StatusLineFault::SwitchingProtocols,
            ),
        ] {
            assert_eq!(parse_status(line.as_bytes()), Err(fault), "{line}");
        }
    }
}
