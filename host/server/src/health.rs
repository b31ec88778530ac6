//! `GET /health`: what an operator wants to know of the process at a glance.

use crate::components::{Exchangeable, FolderState};
use crate::signing::Signing;
use serde_json::{Value, json};
use std::sync::Arc;

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
    components: &[Arc<dyn Exchangeable>],
    folder: Option<&FolderState>,
    token: &Capability,
    signing: Option<&Signing>,
) -> Value {
    let components: Vec<_> = components.iter().map(|slot| slot.document()).collect();
    let refused = components
        .iter()
        .any(|slot| !slot["last_refusal"].is_null());
    let not_configured = || Capability::NotConfigured.document();
    let folder_failing = folder.is_some_and(|folder| folder.failing.is_some());
    let folder = folder.map_or_else(not_configured, |folder| {
        json!({
            "status": if folder_failing { "failing" } else { "ok" },
            "why": folder.failing,
            "unknown_files": folder.unknown,
        })
    });
    let (store, upstream) =
        signing.map_or_else(|| (not_configured(), not_configured()), Signing::health);
    let signing = signing.map_or(Capability::NotConfigured, Signing::capability);
    let failing = folder_failing || refused || matches!(signing, Capability::Failing(_));
    json!({
        "status": if failing { "degraded" } else { "ok" },
        "version": env!("CARGO_PKG_VERSION"),
        "components": components,
        "components_dir": folder,
        "capabilities": {
            "decrypt": Capability::Ready.document(),
            "token": token.document(),
            "signing": signing.document(),
        },
        "store": store,
        "upstream": upstream,
    })
}
