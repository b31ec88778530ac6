//! `bulkhead component check`: what a file would meet with.

use super::slot::ComponentSource;
use super::{folder, pins};
use crate::config::{COMPILE, CheckSettings, Cli, Settings};
use crate::{decrypt, signing, token};
use bulkhead_sandbox::{
    Compiled, ComponentMetrics, Description, Refusal, RefusalKind, Sandbox, World, sha256,
};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// What became of a file.
struct Verdict {
    sha256: Option<[u8; 32]>,
    name: Option<&'static str>,
    outcome: Result<Description, (&'static str, String)>,
}

/// For people or for programs; status 0 where a server would take the file.
pub(super) fn check(settings: &CheckSettings) -> (String, ExitCode) {
    // The flags of a server are not this command's: its settings come as variables.
    let server = Cli::of(&["bulkhead".into()]).settings;
    let verdict = judge(settings, &server);
    let status = match verdict.outcome {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    };
    let text = if settings.json {
        format!("{:#}\n", document(&settings.file, &verdict))
    } else {
        lines(&settings.file, &verdict)
    };
    (text, status)
}

fn document(file: &Path, verdict: &Verdict) -> Value {
    let mut document = json!({
        "file": file.display().to_string(),
        "component": verdict.name,
        "sha256": verdict.sha256.map(|sum| base16ct::lower::encode_string(&sum)),
        "accepted": verdict.outcome.is_ok(),
    });
    match &verdict.outcome {
        Ok(description) => {
            document["name"] = description.name.as_str().into();
            document["version"] = description.version.as_str().into();
            document["description"] = description.summary.as_str().into();
        }
        Err((code, reason)) => {
            document["code"] = (*code).into();
            document["reason"] = reason.as_str().into();
        }
    }
    document
}

fn lines(file: &Path, verdict: &Verdict) -> String {
    let mut text = match (&verdict.outcome, verdict.name) {
        (Ok(description), Some(name)) => format!(
            "{}: would be taken as the {name} component\n{} {}: {}\n",
            file.display(),
            description.name,
            description.version,
            description.summary
        ),
        (Ok(_), None) => String::new(),
        (Err((code, reason)), _) => {
            format!("{}: refused ({code})\n{reason}\n", file.display())
        }
    };
    if let Some(sum) = verdict.sha256 {
        let _infallible = writeln!(text, "sha256 {}", base16ct::lower::encode_string(&sum));
    }
    text
}

/// The same steps as of a server that finds the file in its folder.
fn judge(settings: &CheckSettings, server: &Settings) -> Verdict {
    let mut verdict = Verdict {
        sha256: None,
        name: None,
        outcome: Err(("unreadable", String::new())),
    };
    // With such settings no server starts, whatever the file is.
    let public_key = match server.signing.public_key() {
        Ok(key) => key,
        Err(why) => {
            verdict.outcome = Err(("misconfigured", why));
            return verdict;
        }
    };
    let octets_max = server.components.component_octets as u64;
    let octets = match folder::component(&settings.file, octets_max) {
        Ok(octets) => octets,
        Err(why) => {
            verdict.outcome = Err(("unreadable", why));
            return verdict;
        }
    };
    let sum = sha256(&octets);
    verdict.sha256 = Some(sum);
    if let Some(list) = &server.components.components_pin
        && let Err(why) = pins::check(list, &sum)
    {
        verdict.outcome = Err(("not_pinned", why.to_string()));
        return verdict;
    }
    let named = settings.name.as_deref().and_then(World::named);
    let named = named.or_else(|| by_name(&settings.file));
    let tried = try_out(&octets, named, server, public_key);
    let (world, outcome) = match tried {
        Ok((world, outcome)) => (Some(world), outcome),
        Err(refusal) => (None, Err(refusal)),
    };
    verdict.name = world.map(World::name);
    verdict.outcome = outcome.map_err(|refusal| (refusal.kind.code(), refusal.reason));
    verdict
}

fn by_name(file: &Path) -> Option<World> {
    file.file_stem()
        .and_then(|stem| stem.to_str())
        .and_then(World::named)
}

type Tried = (World, Result<Description, Refusal>);

fn try_out(
    octets: &[u8],
    world: Option<World>,
    server: &Settings,
    public_key: Option<String>,
) -> Result<Tried, Refusal> {
    let compiled = Compiled::apart(octets, &COMPILE, &server.components.compile_limits())?;
    let sandbox = Sandbox::new(&server.sandbox())?;
    let loaded = sandbox.load_compiled(&compiled)?;
    let Some(world) = world.or_else(|| World::of(&sandbox, &loaded)) else {
        return Err(Refusal::new(
            RefusalKind::World,
            "it exports nothing that makes a decrypt, token or signing component",
        ));
    };
    let (source, metrics) = (
        ComponentSource::File(&compiled),
        ComponentMetrics::unregistered(),
    );
    let outcome = match world {
        World::Decrypt => decrypt::maker(sandbox, &server.decrypt, metrics)(source).map(described),
        World::Token => {
            let inline = sandbox.beside(&server.inline_sandbox())?;
            token::maker(sandbox, vec![inline], &server.token, metrics)(source).map(described)
        }
        World::Signing => {
            let sandbox = signing::sandbox(&sandbox, &server.signing)?;
            signing::maker(sandbox, &server.signing, public_key, metrics)(source).map(described)
        }
    };
    Ok((world, outcome))
}

fn described<T>((_, description): (T, Description)) -> Description {
    description
}
