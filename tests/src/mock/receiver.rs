//! A receiver of webhooks on any path.

use super::chance::Chance;
use super::control::{Mock, Stage, fail, run};
use super::door::lock;
use super::record::{Delivery, Journal, Outcome};
use super::rules::{Act, RetryAfter, Rule, Rules};
use super::upstream::whole_micros;
use super::wire::{Body, Head, Manner, Response, Service};
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

/// A receiver of webhooks. Takes them on any path; on the control port POST /control and GET
/// /control/deliveries.
#[derive(Debug, Parser)]
#[command(name = "mock-receiver", max_term_width = 100)]
struct Settings {
    #[command(flatten)]
    stage: Stage,

    /// Secret of the signatures (Standard Webhooks)
    #[arg(long, value_name = "whsec_BASE64", value_parser = secret)]
    secret: Option<String>,
}

fn secret(text: &str) -> Result<String, String> {
    let checked = Webhook::new(text).map_err(|error| error.to_string());
    checked.map(|_| text.to_owned())
}

/// Runs the mock with the arguments of this process.
pub fn main() -> ExitCode {
    let Settings { stage, secret } = Settings::parse();
    let journal = match Journal::new(stage.log.as_deref()) {
        Ok(journal) => journal,
        Err(error) => return fail(&error),
    };
    let receiver = Receiver {
        stage: stage.clone(),
        webhook: secret.map(|secret| Webhook::new(&secret).expect("checked with the arguments")),
        start: Instant::now(),
        state: Mutex::new(State {
            journal,
            rules: Rules::default(),
            connections: 0,
        }),
    };
    run(&stage, receiver)
}

struct Receiver {
    stage: Stage,
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
        let mut chance = Chance::of(self.stage.seed, b"connection", state.connections);
        state.rules.cut_unread(&mut chance)
    }

    fn serve(&self, head: &Head, body: Body<'_>) -> io::Result<(Response, Manner)> {
        let body = body.read()?;
        let verified = self.verify(head, &body);
        let text = |name| head.header(name).map(str::to_owned);
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let at = whole_micros(self.start.elapsed());
        let seq = state.journal.entries.len() as u64;
        let mut chance = Chance::of(self.stage.seed, b"delivery", seq);
        let rule = state.rules.decide(head.path(), &mut chance);
        let act = match &rule {
            None => Act::Normal,
            // A request was read before the connection could be cut.
            Some(rule) if rule.act == Act::ResetBefore => Act::Reset,
            Some(rule) => rule.act,
        };
        let response = answer(rule.as_ref());
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
            status: if act.breaks() {
                Outcome::Broken(act)
            } else {
                Outcome::Answered(response.status)
            },
            mode: (act != Act::Normal).then_some(act),
            verified: verified.as_ref().map(Result::is_ok),
            error: verified.and_then(Result::err),
        };
        self.stage.say(|| described(&delivery));
        state.journal.record(delivery);
        let manner = rule.map_or(Manner::Whole, |rule| rule.manner(self.stage.scale));
        Ok((response, manner))
    }
}

/// 204, or what was ordered.
fn answer(rule: Option<&Rule>) -> Response {
    let Some(rule) = rule else {
        return Response::empty(204);
    };
    // What comes in part or in pieces has to have a body.
    let default = match rule.act {
        Act::Half | Act::Drip => 200,
        _ => 204,
    };
    let mut response = match rule.status.unwrap_or(default) {
        204 => Response::empty(204),
        status => Response::text(status, "this is what the receiver says\n"),
    };
    if let Some(location) = &rule.location {
        response = response.with("Location", location);
    }
    if let RetryAfter::With(text) = &rule.retry_after {
        response = response.with("Retry-After", text);
    }
    response
}

fn described(delivery: &Delivery) -> String {
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
        Outcome::Broken(act) => format!("{act:?}"),
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
