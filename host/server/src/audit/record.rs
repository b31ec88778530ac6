//! The line of a request.

use crate::access::{Caller, Credential};
use crate::client_address::ClientNetwork;
use bulkhead_http::RequestFacts;
use serde::Serialize;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

/// The parts of a request that its line names.
pub(crate) struct Request<'a> {
    pub(crate) id: &'a str,
    pub(crate) method: &'a str,
    pub(crate) route: &'static str,
    /// The other end of the connection. `None` for Unix sockets.
    pub(crate) peer: Option<IpAddr>,
    /// The client, which differs from the peer behind trusted proxies.
    pub(crate) client: Option<IpAddr>,
    pub(crate) facts: &'a RequestFacts,
    pub(crate) start: Instant,
}

/// A request whose line will be written.
pub(super) struct Record<'a> {
    pub(super) request: Request<'a>,
    /// The caller, once it is known.
    pub(super) caller: Option<Caller>,
}

/// The outcome of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// The status of the response. `None` if the client closed the connection before it.
    pub(crate) status: Option<u16>,
    /// The code of the problem document, if the response has one.
    pub(crate) code: Option<&'static str>,
    /// The size of the response's body, in bytes.
    pub(crate) sent_bytes: u64,
}

/// A line of the audit log.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    request_id: &'a str,
    key: Option<&'a str>,
    credential: Option<&'static str>,
    fingerprint: Option<String>,
    peer: Option<IpAddr>,
    client: Option<IpAddr>,
    method: &'a str,
    route: &'static str,
    status: Option<u16>,
    code: Option<&'static str>,
    received_bytes: u64,
    sent_bytes: u64,
    duration_us: u64,
    component: Option<String>,
}

impl Record<'_> {
    /// Returns the line with its line break.
    pub(super) fn line(&self, outcome: Outcome) -> Vec<u8> {
        let Outcome {
            status,
            code,
            sent_bytes,
        } = outcome;
        let Request {
            id,
            method,
            route,
            peer,
            client,
            facts,
            start,
        } = &self.request;
        let caller = self.caller.as_ref();
        let credential = caller.and_then(Caller::credential);
        super::line(&Line {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            event: "request",
            request_id: id,
            key: caller.and_then(Caller::name),
            credential: credential.as_ref().map(Credential::kind),
            fingerprint: credential.as_ref().map(Credential::fingerprint),
            peer: *peer,
            client: *client,
            method,
            route,
            status,
            code,
            received_bytes: facts.received_bytes(),
            sent_bytes,
            duration_us: u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
            component: facts
                .code_sha256()
                .map(|sha256| base16ct::lower::encode_string(sha256)),
        })
    }

    pub(super) fn client_network(&self) -> ClientNetwork {
        ClientNetwork::of(self.request.client)
    }
}
