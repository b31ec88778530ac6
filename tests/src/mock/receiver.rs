//! A webhook receiver that accepts any path.

use super::connection::{Body, Head, Response, SendMode, Service};
use super::control::{CommonArgs, Mock, fail, run};
use super::listener::lock;
use super::record::{Delivery, Journal, Outcome};
use super::rules::{Fault, RetryAfter, Rule, Rules};
use super::seeded_random::SeededRandom;
use super::upstream::whole_micros;
use clap::Parser;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook,
};
use std::io;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A receiver of webhooks. It accepts them on any path. The control port serves POST /control and
/// GET /control/deliveries.
#[derive(Debug, Parser)]
#[command(name = "mock-receiver", max_term_width = 100)]
struct Settings {
    #[command(flatten)]
    common: CommonArgs,

    /// Secret of the webhook signatures (Standard Webhooks)
    #[arg(long, value_name = "whsec_BASE64", value_parser = secret)]
    secret: Option<String>,
}

fn secret(text: &str) -> Result<String, String> {
    let checked = Webhook::new(text).map_err(|error| error.to_string());
    checked.map(|_| text.to_owned())
}

/// Runs the mock with the arguments of this process.
pub fn main() -> ExitCode {
    let Settings { common, secret } = Settings::parse();
    let journal = match Journal::new(common.log.as_deref()) {
        Ok(journal) => journal,
        Err(error) => return fail(&error),
    };
    let receiver = Receiver {
        common: common.clone(),
        webhook: secret
            .map(|secret| Webhook::new(&secret).expect("secret was checked with the arguments")),
        start: Instant::now(),
        state: Mutex::new(State {
            journal,
            rules: Rules::default(),
            connections: 0,
        }),
    };
    run(&common, receiver)
}

struct Receiver {
    common: CommonArgs,
    webhook: Option<Webhook>,
    start: Instant,
    state: Mutex<State>,
}

struct State {
    journal: Journal<Delivery>,
    rules: Rules,
    connections: u64,
}

impl Receiver {
    fn verify(&self, head: &Head, body: &[u8]) -> Option<Result<(), String>> {
        let webhook = self.webhook.as_ref()?;
        let mut headers = HeaderMap::new();
        for name in [
            HEADER_WEBHOOK_ID,
            HEADER_WEBHOOK_TIMESTAMP,
            HEADER_WEBHOOK_SIGNATURE,
        ] {
            let value = head.header(name).map(HeaderValue::from_str);
            if let Some(Ok(value)) = value {
                headers.insert(name, value);
            }
        }
        let verified = webhook.verify(body, &headers);
        Some(verified.map_err(|error| error.to_string()))
    }
}

impl Service for Receiver {
    fn cuts_unread(&self) -> bool {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.connections += 1;
        let mut random = SeededRandom::of(self.common.seed, b"connection", state.connections);
        state.rules.cut_unread(&mut random)
    }

    fn serve(&self, head: &Head, body: Body<'_>) -> io::Result<(Response, SendMode)> {
        let body = body.read()?;
        let verified = self.verify(head, &body);
        let text = |name| head.header(name).map(str::to_owned);
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let at = whole_micros(self.start.elapsed());
        let seq = state.journal.entries.len() as u64;
        let mut random = SeededRandom::of(self.common.seed, b"delivery", seq);
        let rule = state.rules.decide(head.path(), &mut random);
        let fault = match &rule {
            None => Fault::Normal,
            // This request was read before the connection could be reset.
            Some(rule) if rule.fault == Fault::ResetBefore => Fault::Reset,
            Some(rule) => rule.fault,
        };
        let response = response_of(rule.as_ref());
        let delivery = Delivery {
            seq,
            at,
            method: head.method.clone(),
            path: head.target.clone(),
            id: text(HEADER_WEBHOOK_ID),
            timestamp: text(HEADER_WEBHOOK_TIMESTAMP),
            signature: text(HEADER_WEBHOOK_SIGNATURE),
            traceparent: text("traceparent"),
            body: serde_json::from_slice(&body)
                .unwrap_or_else(|_| String::from_utf8_lossy(&body).into()),
            status: if fault.breaks() {
                Outcome::Broken(fault)
            } else {
                Outcome::Answered(response.status)
            },
            mode: (fault != Fault::Normal).then_some(fault),
            verified: verified.as_ref().map(Result::is_ok),
            error: verified.and_then(Result::err),
        };
        self.common.print_line(|| summary_line(&delivery));
        state.journal.record(delivery);
        let send_mode = rule.map_or(SendMode::Whole, |rule| rule.send_mode(self.common.scale));
        Ok((response, send_mode))
    }
}

/// Returns 204, or the response of the rule.
fn response_of(rule: Option<&Rule>) -> Response {
    let Some(rule) = rule else {
        return Response::empty(204);
    };
    // A response that is sent in part or byte by byte needs a body.
    let default = match rule.fault {
        Fault::Half | Fault::Drip => 200,
        _ => 204,
    };
    let mut response = match rule.status.unwrap_or(default) {
        204 => Response::empty(204),
        status => Response::text(status, "status as ordered\n"),
    };
    if let Some(location) = &rule.location {
        response = response.with("Location", location);
    }
    if let RetryAfter::Fixed(text) = &rule.retry_after {
        response = response.with("Retry-After", text);
    }
    response
}

fn summary_line(delivery: &Delivery) -> String {
    let at: Duration = delivery.at;
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let (r#type, data) = (text(&delivery.body["type"]), &delivery.body["data"]);
    let signed = match (delivery.verified, &delivery.error) {
        (None, _) => "not checked".to_owned(),
        (Some(true), _) => "verified".to_owned(),
        (Some(false), error) => error.clone().unwrap_or_default(),
    };
    let status = match delivery.status {
        Outcome::Answered(status) => status.to_string(),
        Outcome::Broken(fault) => format!("{fault:?}"),
    };
    let id = delivery.id.as_deref().unwrap_or("without an id");
    format!(
        "{:10.3} s  {} {} {} {type} of {:?} (webhook {id}, {signed}) -> {status}",
        at.as_secs_f64(),
        delivery.method,
        delivery.path,
        text(&data["id"]),
        text(&data["message"]),
    )
}

impl Mock for Receiver {
    const SIGNS: bool = false;

    fn with_rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut lock(&self.state).rules);
    }

    fn page(&self, name: &str) -> Option<String> {
        (name == "deliveries").then(|| lock(&self.state).journal.lines())
    }
}
