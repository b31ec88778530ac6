//! Requests, responses and their errors, for the upstream and for receivers.

use std::fmt;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::target::{Target, TargetError};

/// A request. The headers `Host` and `User-Agent`, and those about the connection or the length of
/// the body, are set by this crate. They are ignored in `headers`.
#[derive(Clone)]
pub struct Request {
    /// The HTTP method.
    pub method: Method,
    /// The headers in the order in which they are sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The whole body, which may be empty.
    pub body: Bytes,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({}, {} bytes)", self.method, self.body.len())
    }
}

/// The limits of an exchange.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The time by which the first byte of the request must be sent. Otherwise nothing is sent.
    pub send_before: Instant,
    /// The end of the whole exchange, from resolving the name to the last byte of the response.
    pub deadline: Instant,
    /// Maximum size of the body of the response, in bytes.
    pub response_bytes_max: usize,
}

/// A response. `Debug` shows only the status and the size of the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The status, from 200 to 999. Redirects are not followed.
    pub status: u16,
    /// The value of `Retry-After` as it was received, if it is ASCII.
    pub retry_after: Option<String>,
    /// The whole body. It is empty for callbacks.
    pub body: Bytes,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

/// The reason why there is no response. The texts quote neither the request nor the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection was established, for this reason. Nothing was sent.
    #[error("{0}")]
    NotConnected(&'static str),
    /// The host of a callback is not allowed. Nothing was sent.
    #[error("{0}")]
    NotAllowed(#[source] TargetError),
    /// `send_before` had passed before a byte could be sent. Nothing was sent.
    #[error("the connection was established too late to be used")]
    ConnectedTooLate,
    /// The response was incomplete at the deadline.
    #[error("there was no complete response in time")]
    TimedOut,
    /// The connection ended before the response was complete.
    #[error("the response was cut off")]
    CutOff,
    /// The head or the body of the response exceeds its limit.
    #[error("the response is too long")]
    TooLong,
    /// The response is not valid HTTP/1.
    #[error("the response is not valid HTTP/1.1. Check the scheme and the port of the URL")]
    Malformed,
    /// The status line of a receiver's response is malformed.
    #[error("the status line of the response is malformed: {0}")]
    StatusLine(#[source] StatusLineFault),
}

impl Failure {
    /// Returns whether a byte of the request may have been sent.
    pub fn sent(&self) -> bool {
        match self {
            Self::NotConnected(_) | Self::NotAllowed(_) | Self::ConnectedTooLate => false,
            Self::TimedOut
            | Self::CutOff
            | Self::TooLong
            | Self::Malformed
            | Self::StatusLine(_) => true,
        }
    }
}

/// The fault of a status line. The texts name the line and do not quote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatusLineFault {
    /// The line does not begin with the name and the version of the protocol.
    #[error("it does not begin with HTTP/ and a version")]
    Protocol,
    /// The response begins like a record of TLS.
    #[error("it is a TLS record. The URL should begin with https")]
    Tls,
    /// The status is not a number from 100 to 999.
    #[error("its status is not a number from 100 to 999")]
    Status,
    /// The status is 101.
    #[error("its status is 101, but no change of the protocol was requested")]
    SwitchingProtocols,
}

/// Headers that this crate or hyper writes. A length other than that of the body would make two
/// requests of one.
pub(crate) const RESERVED: [HeaderName; 10] = [
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
];

/// Returns the headers of a request. The length of the body is not among them.
pub(crate) fn headers(target: &Target, others: Vec<(HeaderName, HeaderValue)>) -> HeaderMap {
    let host = HeaderValue::from_str(target.authority()).expect("canonical host should be ASCII");
    let agent = concat!("bulkhead/", env!("CARGO_PKG_VERSION"));
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in others {
        if !RESERVED.contains(&name) {
            // `HeaderMap` holds at most 32768 headers. Further ones are left out, because no server
            // accepts that many.
            let _ = headers.try_append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_headers_and_bodies() {
        let request = Request {
            method: Method::POST,
            headers: vec![(header::AUTHORIZATION, HeaderValue::from_static("secret"))],
            body: Bytes::from_static(b"secret"),
        };
        assert_eq!(format!("{request:?}"), "Request(POST, 6 bytes)");
        let response = Response {
            status: 200,
            retry_after: Some("secret".to_owned()),
            body: Bytes::from_static(b"secret"),
        };
        assert_eq!(format!("{response:?}"), "Response(200, 6 bytes)");
    }
}
