//! `GET /health`: what an operator wants to know of the process at a glance.

use bulkhead_sandbox::{Description, Loaded};
use serde_json::{Value, json};
use std::time::SystemTime;

/// A component in force.
pub(crate) struct ComponentState {
    description: Description,
    sha256: [u8; 32],
    since: SystemTime,
}

impl ComponentState {
    pub(crate) fn new(description: Description, loaded: &Loaded) -> Self {
        Self {
            description,
            sha256: loaded.sha256(),
            since: SystemTime::now(),
        }
    }

    fn document(&self) -> Value {
        json!({
            "name": self.description.name,
            "version": self.description.version,
            "sha256": base16ct::lower::encode_string(&self.sha256),
            "since": humantime::format_rfc3339_seconds(self.since).to_string(),
            "last_refusal": null,
        })
    }
}

/// Whether something the server can do is there to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capability {
    Ready,
    /// Nothing is wrong; the operator did not ask for it.
    NotConfigured,
}

impl Capability {
    fn document(self) -> Value {
        json!({"status": match self {
            Self::Ready => "ready",
            Self::NotConfigured => "not_configured",
        }})
    }
}

/// The whole answer. What is not configured is no reason to be less than `ok`.
pub(crate) fn document(components: &[&ComponentState], token: Capability) -> Value {
    let components: Vec<_> = components.iter().map(|state| state.document()).collect();
    let not_configured = Capability::NotConfigured.document();
    json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "components": components,
        "capabilities": {
            "decrypt": Capability::Ready.document(),
            "token": token.document(),
            "signing": not_configured,
        },
        "store": not_configured,
        "upstream": not_configured,
    })
}
