//! `GET /livez`, `GET /readyz` and `GET /health`.

use crate::access::{Caller, Scope};
use crate::app::App;
use crate::capabilities::CapabilityStatus;
use bulkhead_http::{Problem, Response, json_response};
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use std::sync::atomic::Ordering;

/// Returns 200: the process runs.
pub(crate) fn live() -> Response {
    json_response(StatusCode::OK, &json!({"status": "ok"}))
}

/// Returns 200 if the server accepts requests, and 503 while it drains.
pub(crate) fn ready(app: &App) -> Result<Response, Problem> {
    if app.draining.load(Ordering::Relaxed) {
        Err(Problem::draining())
    } else {
        Ok(live())
    }
}

/// Returns the state of all capabilities and their components, and 503 while the server drains. A caller without
/// the scope `observe` sees the status only.
pub(crate) fn health(app: &App, caller: &Caller) -> Result<Response, Problem> {
    if app.draining.load(Ordering::Relaxed) {
        Err(Problem::draining())
    } else {
        let mut document = document(app);
        if !caller.has(Scope::Observe) {
            document = json!({"status": document["status"]});
        }
        Ok(json_response(StatusCode::OK, &document))
    }
}

/// Returns the document of `/health`. Its status can be `ok` even if a capability is not configured.
fn document(app: &App) -> Value {
    let components = app.components.iter();
    let components: Vec<_> = components.map(|component| component.document()).collect();
    let mut is_failing = components
        .iter()
        .any(|component| !component["last_rejection"].is_null());
    let folder = match &app.watch {
        None => CapabilityStatus::NotConfigured.document(),
        Some(watch) => {
            let state = watch.state();
            is_failing |= state.failing.is_some();
            json!({
                "status": if state.failing.is_some() { "failing" } else { "ok" },
                "why": state.failing,
                "unknown_files": state.unknown,
            })
        }
    };
    let (access, is_access_failing) = app.access.health();
    let (tls, is_tls_failing) = app.tls.health();
    let (audit, is_audit_failing) = app.audit.health();
    is_failing |= is_access_failing || is_tls_failing || is_audit_failing;
    let mut statuses = Map::new();
    let mut members = Map::new();
    for (name, capability) in app.capabilities.iter() {
        let status = capability.status();
        is_failing |= matches!(status, CapabilityStatus::Failing(_));
        statuses.insert(name.to_owned(), status.document());
        members.extend(
            capability
                .health_members()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
    }
    let mut document = json!({
        "status": if is_failing { "degraded" } else { "ok" },
        "version": env!("CARGO_PKG_VERSION"),
        "components": components,
        "components_dir": folder,
        "capabilities": statuses,
        "access": access,
        "tls": tls,
        "audit": audit,
        "warnings": app.access.warnings(),
    });
    if let Some(document) = document.as_object_mut() {
        document.extend(members);
    }
    document
}
