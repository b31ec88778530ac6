//! `bulkhead component list`: what a running server uses.

use crate::config::InForceSettings;
use crate::inquiry;
use serde_json::Value;
use std::fmt::Write as _;

/// Octets of a server's answer.
const ANSWER_OCTETS_MAX: usize = 1 << 20;

/// A line for each component, and one for the file that was refused last; or JSON.
pub(super) fn list(settings: &InForceSettings) -> Result<String, String> {
    let health = health(settings)?;
    let components = &health["components"];
    let Some(all) = components.as_array() else {
        return Err("the server's answer to /health names no components".into());
    };
    if settings.json {
        return Ok(format!("{components:#}\n"));
    }
    let mut text = String::new();
    for component in all {
        let part = |name: &str| component[name].as_str().unwrap_or("?").to_owned();
        let columns = ["name", "version", "source", "since", "sha256"].map(part);
        let _infallible = writeln!(text, "{}", columns.join("  "));
        let refusal = &component["last_refusal"];
        if let Some(reason) = refusal["reason"].as_str() {
            let at = refusal["at"].as_str().unwrap_or_default();
            let _infallible = writeln!(text, "  a file was refused at {at}: {reason}");
        }
    }
    Ok(text)
}

fn health(settings: &InForceSettings) -> Result<Value, String> {
    let reply = inquiry::get(&settings.server, "/health", ANSWER_OCTETS_MAX)?;
    serde_json::from_slice(&reply.body).map_err(|_| {
        let (address, status) = (settings.server.listen, reply.status);
        format!("{address} does not answer /health as Bulkhead does: {status:?}")
    })
}
