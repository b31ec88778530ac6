//! `bulkhead component list`: lists the active components of a running server.

use crate::access::Scope;
use crate::cli::client::{self, ClientError, Needs, Part, ServerSettings};
use clap::Args;
use serde_json::Value;
use std::fmt::Write as _;

#[derive(Debug, Args)]
pub(crate) struct ListSettings {
    #[command(flatten)]
    server: ServerSettings,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Returns JSON, or a line for each component, for its last rejected file, and for each problem of the
/// folder.
///
/// # Errors
/// [`ClientError`] if the server does not respond as expected.
pub(super) fn list(settings: &ListSettings) -> Result<String, ClientError> {
    let health = health(&settings.server)?;
    let components = &health["components"];
    if settings.json {
        return Ok(format!("{components:#}\n"));
    }
    let all = components.as_array().into_iter().flatten();
    let part = |value: &Value, name: &str| value[name].as_str().unwrap_or("?").to_owned();
    let columns = [
        "name",
        "implementation",
        "version",
        "source",
        "since",
        "sha256",
    ];
    let mut text = columns.join("  ") + "\n";
    for component in all {
        let values = columns.map(|name| part(component, name));
        let _infallible = writeln!(text, "{}", values.join("  "));
        let rejection = &component["last_rejection"];
        if !rejection.is_null() {
            let [at, code, sum, reason] =
                ["at", "code", "sha256", "reason"].map(|name| part(rejection, name));
            let _infallible = writeln!(
                text,
                "  a file was rejected at {at} ({code}, sha256 {sum}): {reason}"
            );
        }
    }
    let folder = &health["components_dir"];
    if folder["status"] == "failing" {
        let why = part(folder, "why");
        let _infallible = writeln!(text, "the folder is not watched: {why}");
    }
    let unknown = folder["unknown_files"].as_array();
    for file in unknown.into_iter().flatten().filter_map(Value::as_str) {
        let _infallible = writeln!(
            text,
            "ignored, because it does not have the name of an active component: {file}"
        );
    }
    Ok(text)
}

fn health(server: &ServerSettings) -> Result<Value, ClientError> {
    let scope = Scope::Observe;
    let body = client::get(server, "/health", Needs::Scope(scope), Part::Body)?;
    let health: Value = serde_json::from_slice(&body)
        .map_err(|_| ClientError::NotBulkhead(server.address().clone()))?;
    if health["components"].is_array() {
        Ok(health)
    } else if health["status"].is_string() {
        // A caller without the scope sees nothing else.
        Err(ClientError::Rejected(
            server.address().clone(),
            scope.name(),
        ))
    } else {
        Err(ClientError::NotBulkhead(server.address().clone()))
    }
}
