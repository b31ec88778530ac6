//! `bulkhead component list`: what a running server uses.

use crate::config::InForceSettings;
use crate::inquiry;
use serde_json::Value;
use std::fmt::Write as _;

/// Octets of a server's answer.
const ANSWER_OCTETS_MAX: usize = 1 << 20;

/// A line for each component, and one for its file that was refused; what is wrong with the folder; or JSON.
pub(super) fn list(settings: &InForceSettings) -> Result<String, String> {
    let health = health(settings)?;
    let components = &health["components"];
    let Some(all) = components.as_array() else {
        return Err("the server's answer to /health names no components".into());
    };
    if settings.json {
        return Ok(format!("{components:#}\n"));
    }
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
        let refusal = &component["last_refusal"];
        if !refusal.is_null() {
            let [at, code, sum, reason] =
                ["at", "code", "sha256", "reason"].map(|name| part(refusal, name));
            let _infallible = writeln!(
                text,
                "  a file was refused at {at} ({code}, sha256 {sum}): {reason}"
            );
        }
    }
    let folder = &health["components_dir"];
    if folder["status"] == "failing" {
        let why = part(folder, "why");
        let _infallible = writeln!(text, "the folder is not looked after: {why}");
    }
    let unknown = folder["unknown_files"].as_array();
    for file in unknown.into_iter().flatten().filter_map(Value::as_str) {
        let _infallible = writeln!(text, "not the name of a component in use: {file}");
    }
    Ok(text)
}

fn health(settings: &InForceSettings) -> Result<Value, String> {
    let reply = inquiry::get(&settings.server, "/health", ANSWER_OCTETS_MAX, |_| false)?;
    if !reply.is_ok() {
        return Err(format!(
            "{} answers /health with {:?}: it is shutting down, or is not Bulkhead. Try again, or name \
             another address with --listen (BULKHEAD_LISTEN)",
            settings.server.listen, reply.status
        ));
    }
    serde_json::from_slice(&reply.body).map_err(|_| {
        let (address, status) = (settings.server.listen, reply.status);
        format!("{address} does not answer /health as Bulkhead does: {status:?}")
    })
}
