//! `bulkhead component check`: checks whether a server would accept a file.

use crate::app::{Settings, first_sandbox};
use crate::capabilities::{AdmissionError, DEFINITIONS, Definition};
use crate::cli::settings_of_variables;
use crate::components::metrics::{NOT_PINNED, UNREADABLE};
use crate::components::{COMPILE, ComponentSource, folder, pins};
use crate::metrics::Metrics;
use bulkhead_sandbox::{Compiled, Description, Rejection, RejectionKind, World, sha256};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The code for settings with which a server does not start.
const MISCONFIGURED: &str = "misconfigured";

#[derive(Debug, Args)]
pub(crate) struct CheckSettings {
    /// Component file to check (.wasm).
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Component that the file replaces: decrypt, token or signing [default: by its file name, or else by its
    /// exports].
    #[arg(long = "as", value_name = "NAME", value_parser = names())]
    name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn names() -> PossibleValuesParser {
    DEFINITIONS
        .iter()
        .map(|capability| capability.artifact.name)
        .collect::<Vec<_>>()
        .into()
}

fn capability(name: &str) -> Option<&'static Definition> {
    DEFINITIONS
        .iter()
        .find(|capability| capability.artifact.name == name)
}

/// The result of the check, and the known properties of the file.
struct Verdict {
    sha256: Option<[u8; 32]>,
    name: Option<&'static str>,
    outcome: Result<Description, (&'static str, String)>,
}

/// Returns the result as text or JSON. The status is 0 if a server would accept the file.
pub(super) fn check(settings: &CheckSettings) -> (String, ExitCode) {
    // This command does not have the flags of a server, so the settings come from the variables.
    let verdict = examine(settings, &settings_of_variables());
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
            "{}: would be accepted as the {name} component\n{} {}: {}\n",
            file.display(),
            description.name,
            description.version,
            description.summary
        ),
        (Ok(_), None) => String::new(),
        (Err((code, reason)), _) => {
            let mut text = format!("{}: rejected ({code})\n{reason}\n", file.display());
            text.extend(remedy(code).map(|remedy| remedy.to_owned() + "\n"));
            text
        }
    };
    if let Some(sum) = verdict.sha256 {
        let _infallible = writeln!(text, "sha256 {}", base16ct::lower::encode_string(&sum));
    }
    text
}

/// Returns what to do about a rejection of the component. The reasons for files that are not read contain it.
fn remedy(code: &str) -> Option<&'static str> {
    let kind = RejectionKind::ALL
        .into_iter()
        .find(|kind| kind.code() == code)?;
    Some(match kind {
        RejectionKind::NotAComponent => {
            "Give a WebAssembly component, for example one built for the target wasm32-wasip2."
        }
        RejectionKind::Invalid => {
            "Copy the whole file again, or build it without unusual features."
        }
        RejectionKind::TooDemanding => "Build a smaller component, or raise the limit.",
        RejectionKind::Import => "Remove these imports from the component.",
        RejectionKind::World => "Name the component with --as, or build it for the world in wit/.",
        RejectionKind::Version | RejectionKind::Link => {
            "Build the component with this server's wit/."
        }
        RejectionKind::Description => "Correct the function `describe` of the component.",
        RejectionKind::SelfTest | RejectionKind::KnownAnswers => {
            "Correct the component: it would return wrong results."
        }
    })
}

/// Checks the file in the same steps as a server that finds it in its folder.
fn examine(settings: &CheckSettings, server: &Settings) -> Verdict {
    let mut verdict = Verdict {
        sha256: None,
        name: None,
        outcome: Err((UNREADABLE, String::new())),
    };
    let bytes = match folder::read_component(&settings.file, server.components.component_max) {
        Ok(bytes) => bytes,
        Err(why) => {
            verdict.outcome = Err((UNREADABLE, why));
            return verdict;
        }
    };
    let sum = sha256(&bytes);
    verdict.sha256 = Some(sum);
    if let Some(list) = &server.components.components_pin
        && let Err(error) = pins::check(list, &sum)
    {
        verdict.outcome = Err((NOT_PINNED, error.to_string()));
        return verdict;
    }
    let stem = settings.file.file_stem().and_then(|stem| stem.to_str());
    let named = settings.name.as_deref().or(stem).and_then(capability);
    let outcome = admit(&bytes, named, server, &mut verdict.name);
    verdict.outcome = outcome.map_err(|error| match error {
        AdmissionError::Settings(error) => (MISCONFIGURED, error.to_string()),
        AdmissionError::Rejected(rejection) => (rejection.kind.code(), rejection.reason),
    });
    verdict
}

/// Checks the component, and sets `name` when the capability is known.
fn admit(
    bytes: &[u8],
    chosen: Option<&'static Definition>,
    server: &Settings,
    name: &mut Option<&'static str>,
) -> Result<Description, AdmissionError> {
    let limits = server.components.compile_limits();
    let compiled = Compiled::in_child_process(bytes, &COMPILE, &limits)?;
    let sandbox = first_sandbox()?;
    let loaded = sandbox.load_compiled(&compiled)?;
    let by_exports = || capability(World::of(&sandbox, &loaded)?.name());
    let Some(capability) = chosen.or_else(by_exports) else {
        let known: Vec<_> = DEFINITIONS
            .iter()
            .map(|known| known.artifact.name)
            .collect();
        let why = format!(
            "it does not export the world of a {} component",
            one_of(&known)
        );
        return Err(Rejection::new(RejectionKind::World, why).into());
    };
    *name = Some(capability.artifact.name);
    let metrics = Metrics::new(std::iter::empty());
    let context = server.context(&sandbox, &metrics);
    (capability.admit)(&context, ComponentSource::File(&compiled))
}

/// Returns the names as `a, b or c`.
fn one_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
