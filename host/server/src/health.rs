//! `GET /health`: what an operator wants to know of the process at a glance.

use crate::signing::Signing;
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Capability {
    Ready,
    /// Nothing is wrong; the operator did not ask for it.
    NotConfigured,
    /// It does not work; why.
    Failing(String),
}

impl Capability {
    fn document(&self) -> Value {
        match self {
            Self::Ready => json!({"status": "ready"}),
            Self::NotConfigured => json!({"status": "not_configured"}),
            Self::Failing(why) => json!({"status": "failing", "why": why}),
        }
    }
}

/// The whole answer. What is not configured is no reason to be less than `ok`.
pub(crate) fn document(
    components: &[&ComponentState],
    token: &Capability,
    signing: Option<&Signing>,
) -> Value {
    let components = components
        .iter()
        .copied()
        .chain(signing.map(|signing| &signing.component));
    let components: Vec<_> = components.map(ComponentState::document).collect();
    let not_configured = || Capability::NotConfigured.document();
    let (store, upstream) =
        signing.map_or_else(|| (not_configured(), not_configured()), Signing::health);
    let signing = signing.map_or(Capability::NotConfigured, Signing::capability);
    let failing = matches!(signing, Capability::Failing(_));
    json!({
        "status": if failing { "degraded" } else { "ok" },
        "version": env!("CARGO_PKG_VERSION"),
        "components": components,
        "capabilities": {
            "decrypt": Capability::Ready.document(),
            "token": token.document(),
            "signing": signing.document(),
        },
        "store": store,
        "upstream": upstream,
    })
}
