//! Exchanges with test servers on the loopback interface.

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

/// Time limit for steps that should succeed.
const TIME_MAX: Duration = Duration::from_secs(20);

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

/// Limits for responses of up to 64 bytes.
fn within(time: Duration) -> Limits {
    let deadline = Instant::now() + time;
    Limits {
        send_before: deadline,
        deadline,
        response_bytes_max: 64,
    }
}

fn generous() -> Limits {
    within(TIME_MAX)
}
