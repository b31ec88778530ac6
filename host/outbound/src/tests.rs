//! Exchanges with servers of all kinds, on this machine's loopback.

mod answers;
mod callbacks;
pub(crate) mod dns;
mod failures;
mod https;
mod server;

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tokio::time::Instant;

use super::*;

/// What no test may take; where a test is to fail, it fails by then.
const PATIENCE: Duration = Duration::from_secs(20);

fn setup(allow: &[&str]) -> Setup {
    Setup {
        ca_file: None,
        callback_allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn outbound() -> Outbound {
    Outbound::new(&setup(&["127.0.0.0/8", "::1"])).unwrap()
}

fn get() -> Request {
    Request {
        method: Method::GET,
        headers: Vec::new(),
        body: Bytes::new(),
    }
}

fn post(body: impl Into<Bytes>) -> Request {
    Request {
        method: Method::POST,
        headers: Vec::new(),
        body: body.into(),
    }
}

/// Answers of up to 64 octets.
fn within(time: Duration) -> Limits {
    let deadline = Instant::now() + time;
    Limits {
        send_before: deadline,
        deadline,
        answer_octets: 64,
    }
}

fn patient() -> Limits {
    within(PATIENCE)
}
