//! The environment of the relay in a server: randomness, network and tasks, beside the clocks.

use super::clocks::{boot_clock, now};
use super::secrets::SharedApiKey;
use crate::trace::TRACEPARENT;
use bulkhead_outbound::{Limits, Outbound, Request, Target};
use bulkhead_relay::{BoxFuture, CallResult, Environment, Point};
use bulkhead_sandbox::{Delivery, Failure, Response};
use bulkhead_store::{BootMillis, Callback, Now, TraceParent};
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use rustix::rand::GetRandomFlags;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// Maximum number of bytes read of a receiver's response. Only its status matters.
const RECEIVER_RESPONSE_BYTES_MAX: usize = 64 << 10;

/// A variable for tests of crashes. It names the point at which the process kills itself: a name of
/// [`Point::ALL`], a colon, and the number of times that the process passes the point before.
const CRASH_AT: &str = "BULKHEAD_TEST_CRASH_AT";

/// The clocks, the sockets and the threads of the process.
pub(crate) struct RealEnvironment {
    outbound: Arc<Outbound>,
    upstream: Upstream,
    /// The runtime of the relay's tasks.
    tasks: Handle,
    crash: Option<Crash>,
}

/// The settings of calls to the signing API.
pub(super) struct Upstream {
    pub(super) address: Target,
    pub(super) api_key: SharedApiKey,
    pub(super) response_bytes_max: usize,
}

struct Crash {
    point: Point,
    passed: std::sync::atomic::AtomicU32,
    pass: u32,
}

impl RealEnvironment {
    pub(super) fn new(outbound: Arc<Outbound>, upstream: Upstream, tasks: Handle) -> Self {
        Self {
            outbound,
            upstream,
            tasks,
            crash: Crash::from_variable(),
        }
    }
}

/// Returns 128 random bits of the kernel. (A UUID has 122.)
pub(crate) fn random() -> u128 {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        // After the machine has started, it fails only if a signal interrupts it.
        filled += rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty())
            .unwrap_or_default();
    }
    u128::from_le_bytes(bytes)
}

/// Converts a time of the boot clock to a time of the runtime's clock.
fn instant(at: BootMillis) -> Instant {
    let left = u64::try_from(at.0 - boot_clock().0).unwrap_or(0);
    Instant::now() + Duration::from_millis(left)
}

impl Environment for RealEnvironment {
    fn now(&self) -> Now {
        now()
    }

    fn random(&self) -> u128 {
        random()
    }

    fn sleep_until(&self, at: BootMillis) -> BoxFuture<'static, ()> {
        let at = instant(at);
        // `boot_clock` rounds down. The task therefore wakes up to a millisecond late, and never early.
        Box::pin(tokio::time::sleep_until(at))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.tasks.spawn(task);
    }

    fn call_upstream(
        &self,
        target: String,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> BoxFuture<'static, CallResult> {
        let outbound = Arc::clone(&self.outbound);
        let target = self.upstream.address.join(&target);
        let mut headers = Vec::new();
        let api_key = self.upstream.api_key.load();
        headers.extend(api_key.as_deref().map(|key| (AUTHORIZATION, key.clone())));
        headers.extend(trace_header(trace));
        let limits = Limits {
            send_before: instant(until),
            deadline: instant(until),
            response_bytes_max: self.upstream.response_bytes_max,
        };
        Box::pin(async move {
            let target = match target {
                Ok(target) => target,
                Err(rejection) => return CallResult::Unsent(rejection.to_string()),
            };
            let request = Request {
                method: Method::GET,
                headers,
                body: bytes::Bytes::new(),
            };
            call_result(outbound.upstream(&target, request, limits).await)
        })
    }

    fn deliver(
        &self,
        callback: Callback,
        delivery: Delivery,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> BoxFuture<'static, CallResult> {
        let outbound = Arc::clone(&self.outbound);
        let limits = Limits {
            send_before: instant(until),
            deadline: instant(until),
            response_bytes_max: RECEIVER_RESPONSE_BYTES_MAX,
        };
        Box::pin(async move {
            let target = match outbound.callback_target(&callback.url) {
                Ok(target) => target,
                Err(rejection) => return CallResult::Unsent(rejection.to_string()),
            };
            let headers = delivery.headers.iter().filter_map(|(name, value)| {
                let name = HeaderName::try_from(name).ok()?;
                let value = HeaderValue::try_from(value).ok()?;
                (name != TRACEPARENT).then_some((name, value))
            });
            let request = Request {
                method: Method::POST,
                headers: headers.chain(trace_header(trace)).collect(),
                body: delivery.body.into(),
            };
            call_result(outbound.callback(&target, request, limits).await)
        })
    }

    fn reached(&self, point: Point) {
        if let Some(crash) = &self.crash {
            crash.reached(point);
        }
    }
}

/// Returns the caller's `traceparent` as a header. The host adds it. A component can neither read nor set it.
fn trace_header(trace: Option<TraceParent>) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::try_from(trace?.as_str()).ok()?;
    Some((TRACEPARENT, value))
}

fn call_result(
    result: Result<bulkhead_outbound::Response, bulkhead_outbound::Failure>,
) -> CallResult {
    use bulkhead_outbound::Failure as Failed;
    match result {
        Ok(response) => CallResult::Response(Response {
            status: response.status,
            retry_after: response.retry_after,
            body: response.body.into(),
        }),
        Err(
            failed @ (Failed::NotConnected(_) | Failed::NotAllowed(_) | Failed::ConnectedTooLate),
        ) => CallResult::Unsent(failed.to_string()),
        Err(Failed::CutOff) => CallResult::Lost(Failure::CutOff),
        Err(Failed::TooLong) => CallResult::Lost(Failure::TooLong),
        Err(Failed::Malformed) => CallResult::Lost(Failure::Malformed),
        Err(failed @ Failed::StatusLine(_)) => CallResult::Malformed(failed.to_string()),
        Err(Failed::TimedOut) => CallResult::Lost(Failure::TimedOut),
    }
}

impl Crash {
    fn from_variable() -> Option<Self> {
        let text = std::env::var(CRASH_AT).ok()?;
        let crash = Self::of(&text);
        if crash.is_some() {
            tracing::warn!(
                "{CRASH_AT} is set, which is only for tests: this process will kill itself"
            );
        } else {
            tracing::warn!("{CRASH_AT} is ignored, because it does not name a point");
        }
        crash
    }

    fn of(text: &str) -> Option<Self> {
        let (name, pass) = text.split_once(':').unwrap_or((text, "0"));
        let (point, _) = Point::ALL.into_iter().find(|(_, known)| *known == name)?;
        Some(Self {
            point,
            passed: 0.into(),
            pass: pass.parse().ok()?,
        })
    }

    fn reached(&self, point: Point) {
        use std::sync::atomic::Ordering;
        if point == self.point && self.passed.fetch_add(1, Ordering::Relaxed) == self.pass {
            // As if the kernel killed it for lack of memory: nothing is cleaned up.
            let _dead = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
    }
}
