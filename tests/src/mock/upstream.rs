//! A mock of the upstream signing API, with its failures and further ones on command.

mod failures;
mod key;

use super::connection::{Body, Head, Response, SendMode, Service};
use super::control::{CommonArgs, Mock, fail, run};
use super::listener::lock;
use super::record::{Arrival, Journal, Kind, Outcome, Summary};
use super::rules::{Fault, RetryAfter, Rule, Rules};
use super::seeded_random::SeededRandom;
use super::window::{Quota, max_in_window};
use crate::canaries;
use clap::Parser;
use failures::{DurationRange, FailureModel};
use key::SigningKey;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub use key::PUBLIC_KEY;

/// The default of `--key`.
pub const KEY: &str = "mock-upstream-key";

/// The upstream signing API with its failures. It serves GET /crypto/sign, /crypto/verify and /,
/// which need the key in Authorization without a scheme, and GET /public-key, which needs no key.
/// The control port serves POST /control, GET /control/arrivals and GET /control/summary.
#[derive(Debug, Parser)]
#[command(name = "mock-upstream", max_term_width = 100)]
struct Settings {
    #[command(flatten)]
    common: CommonArgs,

    /// Required value of Authorization
    #[arg(long, default_value = KEY)]
    key: String,

    /// Maximum number of calls in any window; further calls get 429
    #[arg(long, value_name = "N", default_value = "10")]
    calls: usize,

    /// Length of the window
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    window: Duration,

    /// Probability that signing a message begins to fail
    #[arg(long, value_name = "PROBABILITY", default_value = "0.5", value_parser = probability)]
    fail: f64,

    /// How long the message keeps failing
    #[arg(long, value_name = "MIN..MAX", default_value = "30s..180s")]
    degraded: DurationRange,

    /// Time until a response is sent
    #[arg(long, value_name = "MIN..MAX", default_value = "0s")]
    latency: DurationRange,
}

fn probability(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|p: &f64| (0.0..=1.0).contains(p));
    parsed.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

/// Runs the mock with the arguments of this process.
pub fn main() -> ExitCode {
    let settings = Settings::parse();
    let common = settings.common.clone();
    match Upstream::new(settings) {
        Ok(upstream) => run(&common, upstream),
        Err(error) => fail(&error),
    }
}

struct Upstream {
    common: CommonArgs,
    key: String,
    latency: DurationRange,
    signing_key: SigningKey,
    start: Instant,
    state: Mutex<State>,
}

struct State {
    journal: Journal<Arrival>,
    quota: Quota,
    rules: Rules,
    failures: FailureModel,
    signed: HashSet<String>,
    connections: u64,
    cut_unread: u64,
}

/// A parsed request.
enum ApiCall {
    Sign(String),
    Verify {
        message: String,
        signature: String,
    },
    Key,
    /// A request to sign or verify with a parameter that is missing, empty or not UTF-8.
    Incomplete(Kind),
    OtherMethod,
    Unknown,
}

impl ApiCall {
    fn of(head: &Head) -> Self {
        let parameter = |name| head.parameter(name).filter(|value| !value.is_empty());
        match (head.method.as_str(), head.path()) {
            ("GET", "/crypto/sign") => {
                parameter("message").map_or(Self::Incomplete(Kind::Sign), Self::Sign)
            }
            ("GET", "/crypto/verify") => match (parameter("message"), parameter("signature")) {
                (Some(message), Some(signature)) => Self::Verify { message, signature },
                _ => Self::Incomplete(Kind::Verify),
            },
            ("GET", "/") => Self::Key,
            (_, "/crypto/sign" | "/crypto/verify" | "/") => Self::OtherMethod,
            _ => Self::Unknown,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Sign(_) => Kind::Sign,
            Self::Verify { .. } => Kind::Verify,
            Self::Key => Kind::Key,
            Self::Incomplete(kind) => *kind,
            Self::OtherMethod | Self::Unknown => Kind::Other,
        }
    }

    fn message(&self) -> Option<&String> {
        match self {
            Self::Sign(message) | Self::Verify { message, .. } => Some(message),
            Self::Key | Self::Incomplete(_) | Self::OtherMethod | Self::Unknown => None,
        }
    }
}

/// A response that may need a signature. Signing takes a millisecond and happens outside the lock.
enum PendingResponse {
    Ready(Response),
    Signature(String),
    /// The signature of another message.
    WrongSignature(String),
    CutSignature(String),
}

impl Upstream {
    fn new(settings: Settings) -> io::Result<Self> {
        let Settings { common, key, .. } = settings;
        canaries::record_secret(&key);
        let state = State {
            journal: Journal::new(common.log.as_deref())?,
            quota: Quota::new(settings.calls, settings.window.mul_f64(common.scale)),
            rules: Rules::default(),
            failures: FailureModel::new(
                common.seed,
                settings.fail,
                settings.degraded.scaled(common.scale),
            ),
            signed: HashSet::new(),
            connections: 0,
            cut_unread: 0,
        };
        Ok(Self {
            key,
            latency: settings.latency.scaled(common.scale),
            common,
            signing_key: SigningKey::new(),
            start: Instant::now(),
            state: Mutex::new(state),
        })
    }

    /// Counts, decides and logs a call under one lock, so that the log is in the order of its
    /// times.
    fn arrive(&self, head: &Head) -> (PendingResponse, SendMode) {
        let call = ApiCall::of(head);
        if let Some(message) = call.message() {
            canaries::record_secret(message);
        }
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let at = whole_micros(self.start.elapsed());
        let over = state.quota.arrive(at);
        let seq = state.journal.entries.len() as u64;
        let mut random = SeededRandom::of(self.common.seed, b"arrival", seq);
        let rule = state.rules.decide(head.path(), &mut random);
        let fault = match &rule {
            None => Fault::Normal,
            // This request was read before the connection could be reset.
            Some(rule) if rule.fault == Fault::ResetBefore => Fault::Reset,
            Some(rule) => rule.fault,
        };
        let pending = match &rule {
            Some(rule) if rule.status.is_some() => {
                PendingResponse::Ready(ordered_response(rule, over, &state.quota))
            }
            // A response that is never sent must not change the state.
            Some(_) if matches!(fault, Fault::Hang | Fault::Reset | Fault::Garbage) => {
                PendingResponse::Ready(Response::empty(200))
            }
            _ => self.default_response(&mut state.failures, head, &call, over, fault, at),
        };
        let send_mode = rule.as_ref().map(|rule| rule.send_mode(self.common.scale));
        let send_mode = match send_mode.unwrap_or(SendMode::Whole) {
            SendMode::Whole => SendMode::Late(self.latency.pick(&mut random)),
            send_mode => send_mode,
        };
        let status = match &pending {
            _ if fault.breaks() => Outcome::Broken(fault),
            PendingResponse::Ready(response) => Outcome::Answered(response.status),
            _ => Outcome::Answered(200),
        };
        if let (PendingResponse::Signature(message), false) = (&pending, fault.breaks()) {
            state.signed.insert(message.clone());
        }
        let arrival = Arrival {
            seq,
            at,
            kind: call.kind(),
            message: call.message().cloned(),
            traceparent: head.header("traceparent").map(str::to_owned),
            status,
            mode: (fault != Fault::Normal).then_some(fault),
            over_quota: over.is_some(),
        };
        let calls = state.quota.in_window();
        self.common
            .print_line(|| summary_line(&arrival, calls, state.quota.calls));
        state.journal.record(arrival);
        (pending, send_mode)
    }

    /// Returns the response to a call for which no rule sets a status.
    fn default_response(
        &self,
        failures: &mut FailureModel,
        head: &Head,
        call: &ApiCall,
        over: Option<Duration>,
        fault: Fault,
        now: Duration,
    ) -> PendingResponse {
        let response = if let Some(wait) = over {
            Response::text(429, "too many calls\n").with("Retry-After", seconds(wait))
        } else if head.header("authorization") != Some(&*self.key) {
            Response::text(401, "the key is wrong\n")
        } else {
            match call {
                ApiCall::Sign(message) => match fault {
                    Fault::WrongSignature => {
                        return PendingResponse::WrongSignature(message.clone());
                    }
                    Fault::TruncatedBase64 => {
                        return PendingResponse::CutSignature(message.clone());
                    }
                    Fault::Html200 => Response::empty(200),
                    _ => match failures.fails(message, now) {
                        None => return PendingResponse::Signature(message.clone()),
                        Some(text) => text,
                    },
                },
                ApiCall::Verify { message, signature } => {
                    if self.signing_key.verifies(message, signature) {
                        Response::text(200, "the signature is valid\n")
                    } else {
                        Response::text(400, "the signature is invalid\n")
                    }
                }
                ApiCall::Key => Response::text(200, "Welcome to the signing API\n"),
                ApiCall::Incomplete(_) => Response::text(400, "a parameter is missing\n"),
                ApiCall::OtherMethod => Response::text(405, "GET only\n").with("Allow", "GET"),
                ApiCall::Unknown => Response::text(404, "no such page\n"),
            }
        };
        if fault == Fault::Html200 && response.status == 200 {
            let page = "<!DOCTYPE html>\n<title>Signing API</title>\n<p>Back soon.</p>\n";
            return PendingResponse::Ready(Response::html(200, page));
        }
        PendingResponse::Ready(response)
    }

    fn response(&self, pending: PendingResponse) -> Response {
        let sign = |message: &str| {
            let signature = self.signing_key.sign(message);
            canaries::record_secret(&signature);
            signature
        };
        match pending {
            PendingResponse::Ready(response) => response,
            PendingResponse::Signature(message) => Response::text(200, sign(&message)),
            PendingResponse::WrongSignature(message) => {
                Response::text(200, sign(&(message + " not")))
            }
            PendingResponse::CutSignature(message) => {
                let mut signature = sign(&message);
                // One character more than a multiple of four is never valid base64.
                signature.truncate(signature.len() / 8 * 4 + 1);
                Response::text(200, signature)
            }
        }
    }

    fn summary(&self) -> Summary {
        let state = lock(&self.state);
        let arrivals = &state.journal.entries;
        let mut by_kind = BTreeMap::new();
        for arrival in arrivals {
            *by_kind.entry(arrival.kind).or_default() += 1;
        }
        Summary {
            arrivals: arrivals.len() as u64,
            max_in_window: max_in_window(arrivals, state.quota.window),
            over_quota: arrivals.iter().filter(|a| a.over_quota).count() as u64,
            calls: state.quota.calls,
            window_ms: state.quota.window.as_secs_f64() * 1000.0,
            by_kind,
            signed_messages: state.signed.len(),
            cut_unread: state.cut_unread,
        }
    }
}

/// Truncates a duration to the log's precision.
pub(crate) fn whole_micros(time: Duration) -> Duration {
    Duration::new(time.as_secs(), time.subsec_micros() * 1000)
}

/// Formats a wait for `Retry-After` in whole seconds, rounded up.
fn seconds(wait: Duration) -> String {
    let begun = u64::from(wait.subsec_nanos() > 0);
    (wait.as_secs() + begun).max(1).to_string()
}

fn ordered_response(rule: &Rule, over: Option<Duration>, quota: &Quota) -> Response {
    let status = rule.status.unwrap_or(200);
    let response = if status == 204 {
        Response::empty(status)
    } else {
        Response::text(status, format!("{status}, as ordered\n"))
    };
    let response = match &rule.location {
        Some(location) => response.with("Location", location),
        None => response,
    };
    match &rule.retry_after {
        RetryAfter::Fixed(text) => response.with("Retry-After", text),
        RetryAfter::Default if status == 429 => {
            response.with("Retry-After", seconds(over.unwrap_or(quota.window)))
        }
        RetryAfter::Default | RetryAfter::Omitted => response,
    }
}

fn summary_line(arrival: &Arrival, calls: usize, quota: usize) -> String {
    let at = arrival.at.as_secs_f64();
    let message = arrival.message.as_deref().unwrap_or_default();
    let status = match arrival.status {
        Outcome::Answered(status) => status.to_string(),
        Outcome::Broken(fault) => format!("{fault:?}"),
    };
    let kind = arrival.kind;
    format!(
        "{at:10.3} s  {kind:?} {message:?} -> {status}  (call {calls} of {quota} in this window)"
    )
}

impl Service for Upstream {
    fn cuts_unread(&self) -> bool {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.connections += 1;
        let mut random = SeededRandom::of(self.common.seed, b"connection", state.connections);
        let cut = state.rules.cut_unread(&mut random);
        state.cut_unread += u64::from(cut);
        cut
    }

    fn serve(&self, head: &Head, _: Body<'_>) -> io::Result<(Response, SendMode)> {
        // This path is for tests and does not count as a call.
        if (head.method.as_str(), head.path()) == ("GET", "/public-key") {
            return Ok((Response::text(200, PUBLIC_KEY), SendMode::Whole));
        }
        let (pending, send_mode) = self.arrive(head);
        Ok((self.response(pending), send_mode))
    }
}

impl Mock for Upstream {
    const SIGNS: bool = true;

    fn with_rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut lock(&self.state).rules);
    }

    fn page(&self, name: &str) -> Option<String> {
        match name {
            "arrivals" => Some(lock(&self.state).journal.lines()),
            "summary" => {
                Some(serde_json::to_string(&self.summary()).expect("entry should serialize") + "\n")
            }
            _ => None,
        }
    }
}
