//! The routes below `/crypto/`, which lead to the signing relay.

mod clocks;
mod environment;
mod list;
mod parameters;
mod pem;
mod problems;
mod secrets;
mod settings;
mod start;
pub(crate) mod store;
mod store_settings;

use super::{BoxFuture, Capability, CapabilityStatus, Definition, on_worker};
use crate::access::{Caller, Scope};
use crate::components::{ActiveComponent, HotSwap};
use crate::config::secrets::SecretError;
use crate::trace::trace_parent;
use bulkhead_http::{
    ByteSize, Call, LimitExceeded, Problem, RequestFacts, Response, RuntimeThread, json_response,
    setting,
};
use bulkhead_outbound::Outbound;
use bulkhead_relay::{Relay, RelayHealth, SignOutcome, UpstreamHealth};
use bulkhead_sandbox::{CallerId, Pool, SigningComponent, with_causes};
use bulkhead_store::{
    BootMillis, Callback, MessageState, NewRequest, NotificationState, Owner, Redelivery,
    RequestId, RequestView, StoreError, Unavailable, UnixMillis, Viewer,
};
use environment::RealEnvironment;
use hyper::header::{HeaderValue, LOCATION, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use parameters::Sign;
use problems::{problem, retry_after};
use secrets::{ActiveSecrets, SigningSecrets};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

pub(crate) use clocks::now;
pub(crate) use pem::PEM;
pub(crate) use problems::KINDS as PROBLEM_KINDS;
pub(crate) use settings::SigningSettings as Settings;
pub(crate) use store_settings::{STORE_PASSWORD, StorePlace, StoreSettings};

/// The path of a single request, without its id.
const REQUESTS: &str = "/crypto/requests/";

/// Time for looking up or redelivering a request, in milliseconds. If it is exceeded, the response is 503.
const LOOK_UP_MS: i64 = 1500;

const VERIFY_QUEUE_FULL: LimitExceeded = LimitExceeded {
    reason: "too many signatures wait for verification",
    setting: setting!(Settings, verify_queue_max),
};

pub(crate) const DEFINITION: Definition = Definition {
    artifact: bulkhead_artifacts::SIGNING,
    contradictions: |settings, _| settings.signing.contradictions(),
    inspect: start::inspect,
    admit: start::admit,
};

/// The signing capability. `None` if no upstream is configured.
pub(crate) struct State(Option<Signing>);

/// The relay and the state of its routes.
struct Signing {
    component: Arc<ActiveComponent<Arc<SigningComponent>>>,
    relay: Arc<Relay<RealEnvironment>>,
    outbound: Arc<Outbound>,
    /// For verification under the public key, which takes milliseconds.
    pool: Pool,
    public_key: Option<Arc<str>>,
    message_max: ByteSize,
    sign_ms: i64,
    store: &'static str,
    /// For reading the secrets again.
    settings: Settings,
    secrets: ActiveSecrets,
    /// The thread that runs the relay.
    _thread: RuntimeThread,
}

impl State {
    /// Handles `GET /crypto/sign` and `POST /crypto/sign`.
    pub(crate) async fn sign(&self, caller: Caller, call: Call<'_>) -> Result<Response, Problem> {
        let (head, configured) = (call.head, self.with_component(call.facts));
        if head.method == Method::POST {
            let admitted = configured
                .and_then(|signing| bulkhead_http::expect_json(&head.headers).map(|()| signing));
            let (signing, body) = call.admit(admitted).await?;
            let until = signing.deadline();
            let sign = Sign::from_json(&body)?;
            return signing.sign(sign, &caller, head, until).await;
        }
        call.discard_body();
        let signing = configured?;
        let until = signing.deadline();
        let query = head.uri.query().unwrap_or_default();
        let sign = Sign::from_query(query)?;
        signing.sign(sign, &caller, head, until).await
    }

    /// Handles `GET /crypto/verify`.
    pub(crate) async fn verify(&self, caller: Caller, call: Call<'_>) -> Result<Response, Problem> {
        let (head, facts) = (call.head, call.facts);
        call.discard_body();
        self.with_component(facts)?.verify(caller.id(), head).await
    }

    /// Handles `GET /crypto/test_api_key`.
    pub(crate) async fn test_key(&self, call: Call<'_>) -> Result<Response, Problem> {
        let (head, facts) = (call.head, call.facts);
        call.discard_body();
        self.with_component(facts)?.test_key(head).await
    }

    /// Handles `GET /crypto/requests`.
    pub(crate) async fn list(&self, caller: Caller, call: Call<'_>) -> Result<Response, Problem> {
        let head = call.head;
        call.discard_body();
        if caller.is_anyone() {
            return Err(problems::access_keys_required());
        }
        let signing = self.configured()?;
        list::list(&signing.relay, viewer(&caller)?, head).await
    }

    /// Handles `GET /crypto/requests/{id}`.
    pub(crate) async fn request(
        &self,
        caller: Caller,
        call: Call<'_>,
    ) -> Result<Response, Problem> {
        let id = call.path_parameter;
        call.discard_body();
        self.configured()?.request(id, viewer(&caller)?).await
    }

    /// Handles `POST /crypto/requests/{id}/redeliver`.
    pub(crate) async fn redeliver(&self, call: Call<'_>) -> Result<Response, Problem> {
        let id = call.path_parameter;
        call.discard_body();
        self.configured()?.redeliver(id).await
    }

    fn configured(&self) -> Result<&Signing, Problem> {
        self.0.as_ref().ok_or_else(problems::not_configured)
    }

    /// Returns the relay for a request that the upstream's signing API is called for, and records the component that
    /// parses the responses.
    fn with_component(&self, facts: &RequestFacts) -> Result<&Signing, Problem> {
        let signing = self.configured()?;
        facts.set_code_sha256(signing.component.borrow().sha256());
        Ok(signing)
    }
}

impl Capability for State {
    fn component(&self) -> Option<Arc<dyn HotSwap>> {
        let signing = self.0.as_ref()?;
        Some(Arc::clone(&signing.component) as _)
    }

    fn status(&self) -> CapabilityStatus {
        let Some(signing) = &self.0 else {
            return CapabilityStatus::NotConfigured;
        };
        let health = signing.relay.health();
        if let (None, Some(why)) = (&health.store, health.never_worked) {
            return CapabilityStatus::Failing(format!(
                "no call of the signing API has succeeded since the start: {why}"
            ));
        }
        match (health.store, health.upstream) {
            (Some(why), _) | (None, Some(UpstreamHealth::Rejecting(why))) => {
                CapabilityStatus::Failing(why)
            }
            (
                None,
                None
                | Some(
                    UpstreamHealth::Fine
                    | UpstreamHealth::Failing(_)
                    | UpstreamHealth::Throttling(_),
                ),
            ) => CapabilityStatus::Ready,
        }
    }

    fn health_members(&self) -> Vec<(&'static str, Value)> {
        let not_configured = || CapabilityStatus::NotConfigured.document();
        let (store, upstream) = match &self.0 {
            None => (not_configured(), not_configured()),
            Some(signing) => signing.health(),
        };
        vec![("store", store), ("upstream", upstream)]
    }

    fn reload(&self) -> Vec<SecretError> {
        let Some(signing) = &self.0 else {
            return Vec::new();
        };
        match SigningSecrets::load(&signing.settings) {
            Ok(secrets) => {
                secrets.warn(&signing.settings);
                if signing.secrets.replace(secrets) {
                    signing.relay.forget_key_check();
                }
                Vec::new()
            }
            Err(errors) => errors,
        }
    }

    /// The relay starts no new work, and finishes the running calls.
    fn finish(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(signing) = &self.0 {
                signing.relay.end().await;
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let Some(signing) = &self.0 else {
                return true;
            };
            match signing.relay.close().await {
                Ok(()) => true,
                Err(error @ StoreError::Unavailable(Unavailable::FileLost(_))) => {
                    tracing::error!(%error, "the next start will not find the data of the store");
                    false
                }
                Err(error) => {
                    tracing::warn!(%error, "the store was not closed completely");
                    true
                }
            }
        })
    }
}

impl Signing {
    /// Returns the time at which a request that arrives now must have a response.
    fn deadline(&self) -> BootMillis {
        BootMillis(clocks::boot_clock().0 + self.sign_ms)
    }

    async fn sign(
        &self,
        sign: Sign,
        caller: &Caller,
        head: &Parts,
        until: BootMillis,
    ) -> Result<Response, Problem> {
        if sign.message.len() > self.message_max.as_usize() {
            return Err(problems::message_too_large(self.message_max));
        }
        let callback = sign.callback.map(|url| self.callback(&url)).transpose()?;
        let message = sign.message;
        let new = NewRequest {
            id: RequestId::new(now().wall, environment::random()),
            owner: caller.name().map(Owner::new),
            message: message.clone(),
            callback,
            trace: trace_parent(&head.headers),
        };
        let outcome = self.relay.sign(new, caller.pending_max(), until).await;
        match outcome.map_err(|error| problem(&error))? {
            SignOutcome::Signed { id, signature } => Ok(json_response(
                StatusCode::OK,
                &json!({"id": id.as_str(), "message": message, "signature": signature}),
            )),
            SignOutcome::Pending { id, after_ms } => Ok(accepted(&id, "pending", after_ms)),
            SignOutcome::Rejected { error, .. } => Err(problems::upstream_rejected(&error)),
            SignOutcome::OwnerFull { after_ms } => {
                Err(caller.pending_max_reached(Duration::from_millis(after_ms)))
            }
        }
    }

    fn callback(&self, url: &str) -> Result<Callback, Problem> {
        let target = self
            .outbound
            .callback_target(url)
            .map_err(|rejection| problems::callback_rejected(&rejection))?;
        Ok(Callback {
            url: target.as_str().to_owned(),
            // Host name without the port. Concurrency is limited per host, so that one slow receiver does
            // not delay the others.
            host: target.host().to_string(),
        })
    }

    async fn verify(&self, caller: CallerId, head: &Parts) -> Result<Response, Problem> {
        let until = self.deadline();
        let signed = parameters::signed_message(head.uri.query().unwrap_or_default())?;
        let response = |valid| json_response(StatusCode::OK, &json!({"valid": valid}));
        let Some(key) = &self.public_key else {
            let valid = self
                .relay
                .verify(signed, trace_parent(&head.headers), until)
                .await;
            return valid.map(response).map_err(|error| problem(&error));
        };
        let active = self.component.current();
        let (component, key) = (Arc::clone(&active.component), Arc::clone(key));
        let verified = on_worker(&self.pool, caller, VERIFY_QUEUE_FULL, move || {
            component.verify(&signed, &key)
        });
        let valid = verified
            .await?
            .map_err(|error| Problem::internal(with_causes(&error)))?;
        Ok(active.attributed(response(valid)))
    }

    async fn test_key(&self, head: &Parts) -> Result<Response, Problem> {
        let (trace, until) = (trace_parent(&head.headers), self.deadline());
        let check = self
            .relay
            .test_key(trace, until)
            .await
            .map_err(|error| problem(&error))?;
        Ok(json_response(
            StatusCode::OK,
            &json!({"valid": check.valid, "checked_at": rfc3339(check.at)}),
        ))
    }

    async fn request(&self, id: &str, viewer: Viewer) -> Result<Response, Problem> {
        let view = self.view(id, viewer).await?;
        let pending = view.state == MessageState::Pending;
        let mut response = json_response(StatusCode::OK, &document(&view));
        if pending {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        Ok(response)
    }

    async fn view(&self, id: &str, viewer: Viewer) -> Result<RequestView, Problem> {
        let id = RequestId::parse(id).ok_or_else(problems::no_such_request)?;
        let view = self.relay.request(id, viewer, look_up_until()).await;
        view.map_err(|error| problem(&error))?
            .ok_or_else(problems::no_such_request)
    }

    async fn redeliver(&self, id: &str) -> Result<Response, Problem> {
        let id = RequestId::parse(id).ok_or_else(problems::no_such_request)?;
        let redelivery = self.relay.redeliver(id.clone(), look_up_until()).await;
        match redelivery.map_err(|error| problem(&error))? {
            Redelivery::Due => Ok(accepted(&id, "redelivering", 1000)),
            Redelivery::TooSoon { after_ms } => Err(problems::redelivery_too_soon(after_ms)),
            Redelivery::NotFound => {
                self.view(id.as_str(), Viewer::All).await?;
                Err(problems::no_notification())
            }
        }
    }

    /// Returns the members of `/health` for the store and for the upstream.
    fn health(&self) -> (Value, Value) {
        let RelayHealth {
            upstream,
            upstream_since,
            store,
            stats,
            never_worked: _,
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
            Some(UpstreamHealth::Rejecting(why)) => ("rejecting", Some(why)),
            Some(UpstreamHealth::Throttling(why)) => ("throttling", Some(why)),
        };
        let upstream = json!({
            "status": status,
            "why": why,
            "since": upstream_since.map(rfc3339),
            // No slot can be used while calls are held.
            "calls_free": stats.map(|stats| match stats.held_ms {
                0 => stats.slots_free,
                _ => 0,
            }),
            "held_seconds": stats.map(|stats| seconds(stats.held_ms)),
        });
        (store, upstream)
    }
}

/// Returns which requests a caller may see. Every caller of an open server has the scope `admin`.
///
/// # Errors
/// 500 if the caller has neither this scope nor a name, which the requirements of the routes exclude.
fn viewer(caller: &Caller) -> Result<Viewer, Problem> {
    match caller.name() {
        _ if caller.has(Scope::Admin) => Ok(Viewer::All),
        Some(name) => Ok(Viewer::Owner(Owner::new(name))),
        None => Err(Problem::internal(
            "a caller without a key reached the requests",
        )),
    }
}

fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1000)
}

fn look_up_until() -> BootMillis {
    BootMillis(clocks::boot_clock().0 + LOOK_UP_MS)
}

fn accepted(id: &RequestId, status: &str, after_ms: u64) -> Response {
    let url = REQUESTS.to_owned() + id.as_str();
    let document = json!({"id": id.as_str(), "status": status, "status_url": url});
    let mut response = json_response(StatusCode::ACCEPTED, &document);
    let headers = response.headers_mut();
    if let Ok(url) = HeaderValue::try_from(url) {
        headers.insert(LOCATION, url);
    }
    headers.insert(RETRY_AFTER, retry_after(after_ms));
    response
}

/// Returns a request as JSON, with what its caller may see.
pub(crate) fn document(view: &RequestView) -> Value {
    let mut document = json!({
        "id": view.id.as_str(),
        "status": "pending",
        "message": view.message,
        "created_at": rfc3339(view.created_at),
        "attempts": view.attempts,
        "notification": {"status": "none", "attempts": 0},
    });
    if let Some(owner) = &view.owner {
        document["owner"] = owner.as_str().into();
    }
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
        let mut shown = json!({"status": status, "attempts": notification.attempts});
        if let Some(error) = &notification.last_error {
            shown["last_error"] = error.as_str().into();
        }
        if let Some(at) = notification.next_attempt_at {
            shown["next_attempt_at"] = rfc3339(at).into();
        }
        document["notification"] = shown;
    }
    document
}

/// Returns a time in the format of RFC 3339, in milliseconds.
pub(crate) fn rfc3339(at: UnixMillis) -> String {
    let since = Duration::from_millis(u64::try_from(at.0).unwrap_or(0));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}
