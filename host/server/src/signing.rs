//! `/crypto/…`: the signing relay behind HTTP.

mod parameters;
mod start;
pub(crate) mod store;
pub(crate) mod world;

use crate::components::Slot;
use crate::health::Capability;
use crate::http::{Answer, json_answer};
use crate::problem::{Limited, Problem, retry_after};
use crate::routes::REQUESTS;
use bulkhead_outbound::Outbound;
use bulkhead_relay::{Relay, RelayError, RelayHealth, SignOutcome, UpstreamHealth};
use bulkhead_sandbox::{Claim, Pool, SigningComponent, with_causes};
use bulkhead_store::{
    BootMillis, Callback, MessageState, NewRequest, NotificationState, Redelivery, RequestId,
    RequestView, TraceParent, UnixMillis,
};
use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION, RETRY_AFTER};
use parameters::Sign;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::oneshot;
use world::Outside;

pub(crate) use start::{check, maker, sandbox, start};

/// Requests are looked up and redelivered in this time, or the answer is 503.
const LOOK_UP_MS: i64 = 1500;

const VERIFY_QUEUE: Limited = Limited {
    what: "too many signatures wait to be verified",
    flag: "--verify-queue-max",
    variable: "BULKHEAD_VERIFY_QUEUE_MAX",
};

/// The signing capability, where an upstream is configured.
pub(crate) struct Signing {
    pub(crate) slot: Arc<Slot<Arc<SigningComponent>>>,
    relay: Arc<Relay<Outside>>,
    outbound: Arc<Outbound>,
    /// For what takes milliseconds: to verify under the public key.
    pool: Pool,
    public_key: Option<Arc<str>>,
    message_octets: usize,
    sign_ms: i64,
    store: &'static str,
    /// The thread that the relay lives on.
    _thread: start::RelayThread,
}

/// What was asked for, read from a query or a body.
pub(crate) enum Asked<'a> {
    Query(&'a str),
    Json(&'a [u8]),
}

impl Signing {
    /// Lets what the relay has under way come to its end. It begins nothing new.
    pub(crate) async fn end(&self) {
        self.relay.end().await;
    }

    /// When a request that came now has to be answered.
    pub(crate) fn deadline(&self) -> BootMillis {
        BootMillis(world::boot_clock().0 + self.sign_ms)
    }

    pub(crate) async fn sign(
        &self,
        asked: Asked<'_>,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> Result<Answer, Problem> {
        let sign = match asked {
            Asked::Query(query) => Sign::from_query(query),
            Asked::Json(body) => Sign::from_json(body),
        }?;
        if sign.message.len() > self.message_octets {
            return Err(Problem::message_too_large(self.message_octets));
        }
        let callback = sign.callback.map(|url| self.callback(&url)).transpose()?;
        let message = sign.message;
        let new = NewRequest {
            id: RequestId::new(world::now().wall, world::random()),
            message: message.clone(),
            callback,
            trace,
        };
        match self
            .relay
            .sign(new, until)
            .await
            .map_err(|error| problem(&error))?
        {
            SignOutcome::Signed { id, signature } => Ok(json_answer(
                StatusCode::OK,
                &json!({"id": id.as_str(), "message": message, "signature": signature}),
            )),
            SignOutcome::Pending { id, after_ms } => Ok(accepted(&id, "pending", after_ms)),
            SignOutcome::Rejected { error, .. } => Err(Problem::upstream_refused(&error)),
        }
    }

    fn callback(&self, url: &str) -> Result<Callback, Problem> {
        let target = self
            .outbound
            .callback_target(url)
            .map_err(|refusal| Problem::callback_refused(&refusal))?;
        Ok(Callback {
            url: target.as_str().to_owned(),
            // Without the port: a slow machine is slow at all of them.
            host: target.host().to_string(),
        })
    }

    pub(crate) async fn verify(
        &self,
        query: &str,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> Result<Answer, Problem> {
        let claim = parameters::claim(query)?;
        let answer = |valid| json_answer(StatusCode::OK, &json!({"valid": valid}));
        let Some(key) = &self.public_key else {
            let valid = self.relay.verify(claim, trace, until).await;
            return valid.map(answer).map_err(|error| problem(&error));
        };
        let in_force = self.slot.current();
        let component = Arc::clone(&in_force.component);
        let valid = self.verify_here(component, claim, Arc::clone(key)).await?;
        Ok(in_force.attributed(answer(valid)))
    }

    async fn verify_here(
        &self,
        component: Arc<SigningComponent>,
        claim: Claim,
        key: Arc<str>,
    ) -> Result<bool, Problem> {
        let (sender, receiver) = oneshot::channel();
        self.pool
            .submit(move |_| {
                // The client hung up while this waited.
                if sender.is_closed() {
                    return;
                }
                // Or does so now.
                let _gone = sender.send(component.verify(&claim, &key));
            })
            .map_err(|_| Problem::overloaded(VERIFY_QUEUE, 1))?;
        let verified = receiver
            .await
            .map_err(|_| Problem::internal("the job for the verification panicked"))?;
        verified.map_err(|error| Problem::internal(with_causes(&error)))
    }

    pub(crate) async fn test_key(
        &self,
        trace: Option<TraceParent>,
        until: BootMillis,
    ) -> Result<Answer, Problem> {
        let check = self
            .relay
            .test_key(trace, until)
            .await
            .map_err(|error| problem(&error))?;
        Ok(json_answer(
            StatusCode::OK,
            &json!({"valid": check.valid, "checked_at": rfc3339(check.at)}),
        ))
    }

    pub(crate) async fn request(&self, id: &str) -> Result<Answer, Problem> {
        let view = self.view(id).await?;
        let pending = view.state == MessageState::Pending;
        let mut answer = json_answer(StatusCode::OK, &document(&view));
        if pending {
            answer
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        Ok(answer)
    }

    async fn view(&self, id: &str) -> Result<RequestView, Problem> {
        let id = RequestId::parse(id).ok_or_else(Problem::no_such_request)?;
        let view = self.relay.request(id, look_up_until()).await;
        view.map_err(|error| problem(&error))?
            .ok_or_else(Problem::no_such_request)
    }

    pub(crate) async fn redeliver(&self, id: &str) -> Result<Answer, Problem> {
        let id = RequestId::parse(id).ok_or_else(Problem::no_such_request)?;
        let redelivery = self.relay.redeliver(id.clone(), look_up_until()).await;
        match redelivery.map_err(|error| problem(&error))? {
            Redelivery::Due => Ok(accepted(&id, "redelivering", 1000)),
            Redelivery::None => {
                self.view(id.as_str()).await?;
                Err(Problem::no_notification())
            }
        }
    }

    pub(crate) fn capability(&self) -> Capability {
        let health = self.relay.health();
        match (health.store, health.upstream) {
            (Some(why), _) | (None, Some(UpstreamHealth::Refusing(why))) => {
                Capability::Failing(why)
            }
            (None, _) => Capability::Ready,
        }
    }

    /// What `/health` says of the store and of the upstream.
    pub(crate) fn health(&self) -> (Value, Value) {
        let RelayHealth {
            upstream,
            upstream_since,
            store,
            stats,
        } = self.relay.health();
        let store = json!({
            "status": if store.is_some() { "failing" } else { "ok" },
            "why": store,
            "kind": self.store,
            "backlog": stats.map(|stats| stats.backlog),
            "oldest_age_seconds": stats.and_then(|stats| stats.oldest_age_ms).map(seconds),
            "notifications_pending": stats.map(|stats| stats.notifications_pending),
            "notifications_parked": stats.map(|stats| stats.notifications_parked),
        });
        let (status, why) = match upstream {
            None => ("unknown", None),
            Some(UpstreamHealth::Fine) => ("ok", None),
            Some(UpstreamHealth::Failing(why)) => ("failing", Some(why)),
            Some(UpstreamHealth::Refusing(why)) => ("refusing", Some(why)),
            Some(UpstreamHealth::Slowing(why)) => ("slowing", Some(why)),
        };
        let upstream = json!({
            "status": status,
            "why": why,
            "since": upstream_since.map(rfc3339),
            // While calls are held, no slot is of use.
            "calls_free": stats.map(|stats| match stats.held_ms {
                0 => stats.slots_free,
                _ => 0,
            }),
            "held_seconds": stats.map(|stats| seconds(stats.held_ms)),
        });
        (store, upstream)
    }
}

fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1000)
}

fn look_up_until() -> BootMillis {
    BootMillis(world::boot_clock().0 + LOOK_UP_MS)
}

fn accepted(id: &RequestId, status: &str, after_ms: u64) -> Answer {
    let url = REQUESTS.to_owned() + id.as_str();
    let document = json!({"id": id.as_str(), "status": status, "status_url": url});
    let mut answer = json_answer(StatusCode::ACCEPTED, &document);
    let headers = answer.headers_mut();
    if let Ok(url) = HeaderValue::try_from(url) {
        headers.insert(LOCATION, url);
    }
    headers.insert(RETRY_AFTER, retry_after(after_ms));
    answer
}

fn problem(error: &RelayError) -> Problem {
    match error {
        RelayError::BacklogFull { after_ms } => Problem::backlog_full(*after_ms),
        RelayError::CallersFull { after_ms } => Problem::callers_full(*after_ms),
        RelayError::Store(_) => Problem::store_unavailable(),
        RelayError::Upstream { after_ms } => Problem::upstream_unavailable(*after_ms),
    }
}

/// A request as its caller may see it.
pub(crate) fn document(view: &RequestView) -> Value {
    let mut document = json!({
        "id": view.id.as_str(),
        "status": "pending",
        "message": view.message,
        "created_at": rfc3339(view.created_at),
        "attempts": view.tries,
        "notification": {"status": "none", "attempts": 0},
    });
    match &view.state {
        MessageState::Pending => {}
        MessageState::Signed(signature) => {
            document["status"] = "signed".into();
            document["signature"] = signature.as_str().into();
        }
        MessageState::Failed(error) => {
            document["status"] = "failed".into();
            document["error"] = error.as_str().into();
        }
    }
    if let Some(notification) = &view.notification {
        let status = match notification.state {
            NotificationState::Pending => "pending",
            NotificationState::Delivered => "delivered",
            NotificationState::Parked => "parked",
        };
        let mut shown = json!({"status": status, "attempts": notification.tries});
        if let Some(error) = &notification.last_error {
            shown["last_error"] = error.as_str().into();
        }
        if let Some(at) = notification.next_try_at {
            shown["next_attempt_at"] = rfc3339(at).into();
        }
        document["notification"] = shown;
    }
    document
}

/// A time as JSON has it.
pub(crate) fn rfc3339(at: UnixMillis) -> String {
    let since = Duration::from_millis(u64::try_from(at.0).unwrap_or(0));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}
