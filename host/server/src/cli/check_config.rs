//! `bulkhead check-config`: prints the configuration that would be used and every problem with it.

use crate::access::read_keys;
use crate::app::{Settings, first_sandbox};
use crate::audit;
use crate::capabilities::signing::{PEM, StorePlace};
use crate::capabilities::{DEFINITIONS, Inspection};
use crate::components;
use crate::listen::tls_problem;
use crate::metrics::Metrics;
use crate::process::logging;
use bulkhead_outbound::Target;
use clap::builder::OsStringValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _};
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::process::ExitCode;

const NAME: &str = "check-config";

const FLAG: &str = "flag";
const DEFAULT: &str = "default";

/// Returns whether the command line has this command.
pub(super) fn is_requested(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|word| word == NAME)
}

/// Prints the settings and the problems. The status is 0 if there are no problems.
pub(super) fn run(arguments: &[OsString]) -> ExitCode {
    let Report {
        text,
        warnings,
        problems,
    } = check(arguments);
    let mut out = std::io::stdout().lock();
    let mut printed = write!(out, "{text}");
    for warning in &warnings {
        printed = printed.and_then(|()| writeln!(out, "warning: {warning}"));
    }
    for problem in &problems {
        printed = printed.and_then(|()| writeln!(out, "problem: {problem}"));
    }
    if problems.is_empty() {
        printed = printed.and_then(|()| writeln!(out, "no problems"));
    }
    match (printed, problems.is_empty()) {
        (Ok(()), true) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The output of the command.
#[derive(Default)]
struct Report {
    /// The settings and the secrets.
    text: String,
    /// Risks. The server starts nevertheless.
    warnings: Vec<String>,
    problems: Vec<String>,
}

impl Report {
    fn of_problems(problems: Vec<String>) -> Self {
        Self {
            problems,
            ..Self::default()
        }
    }
}

/// Reads all values as text first, and then converts each of them. An invalid value becomes a problem, and
/// the default replaces it.
fn check(arguments: &[OsString]) -> Report {
    let command = super::command(arguments);
    let as_text = command.clone().mut_subcommand(NAME, |command| {
        command.mut_args(|argument| argument.value_parser(OsStringValueParser::new()))
    });
    let matches = match as_text.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => match error.kind() {
            // The help text names the values that the parsers accept.
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                command.get_matches_from(arguments);
                error.exit()
            }
            _ => {
                let problem = first_paragraph(&error);
                let problem = format!("{problem}. See the flags in `bulkhead {NAME} --help`");
                return Report::of_problems(vec![problem]);
            }
        },
    };
    let (Some((_, texts)), Some(check)) = (matches.subcommand(), command.find_subcommand(NAME))
    else {
        return Report::default();
    };
    let mut problems = Vec::new();
    let mut good = vec![OsString::from("bulkhead")];
    for argument in check.get_arguments() {
        let Some(flag) = set(argument, texts) else {
            continue;
        };
        let alone = argument.clone().env(None::<&str>);
        let alone = clap::Command::new("bulkhead").arg(alone);
        match alone.try_get_matches_from([OsStr::new("bulkhead"), &flag]) {
            Ok(_) => good.push(flag),
            Err(error) => problems.push(match source(argument, texts) {
                source if source == FLAG => first_paragraph(&error),
                variable => format!("{} (from {variable})", first_paragraph(&error)),
            }),
        }
    }
    let settings = super::Cli::command()
        .try_get_matches_from(good)
        .and_then(|matches| Settings::from_arg_matches(&matches));
    match settings {
        Ok(settings) => {
            let (defaults, secrets) = inspect(&settings, &mut problems);
            let text =
                report(check, texts, &defaults) + &log_setting() + &secrets + &unknown_variables();
            Report {
                text,
                warnings: settings.access.warnings(&settings.listen),
                problems,
            }
        }
        Err(error) => {
            problems.push(first_paragraph(&error));
            Report::of_problems(problems)
        }
    }
}

type Defaults = Vec<(&'static str, String)>;

/// Returns the defaults that depend on the machine, and the lines on secrets. Adds to the problems.
fn inspect(settings: &Settings, problems: &mut Vec<String>) -> (Defaults, String) {
    let (mut defaults, mut secrets) = (Vec::new(), String::new());
    problems.extend(settings.contradictions());
    problems.extend(components::problems(&settings.components));
    problems.extend(tls_problem(&settings.listen));
    problems.extend(audit::problem(&settings.audit));
    let keys = settings.access.access_keys.as_deref().map(read_keys);
    problems.extend(keys.and_then(Result::err).map(|error| error.to_string()));
    let log = logging::check(&logging::directives());
    problems.extend(log.err().map(|error| error.to_string()));
    let sandbox = match first_sandbox() {
        Ok(sandbox) => sandbox,
        Err(error) => {
            problems.push(error.to_string());
            return (defaults, secrets);
        }
    };
    let metrics = Metrics::new(std::iter::empty());
    let context = settings.context(&sandbox, &metrics);
    for capability in DEFINITIONS {
        let inspection = (capability.inspect)(&context);
        let Inspection {
            defaults: computed,
            secrets: lines,
            problems: found,
        } = inspection;
        defaults.extend(computed);
        secrets.extend(lines.into_iter().map(|line| line + "\n"));
        problems.extend(found);
    }
    (defaults, secrets)
}

/// Returns clap's text without the usage and the hints after it.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.to_string();
    // The possible values are on a separate line.
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

/// Returns the source of a value: the name of a variable, `flag` or `default`.
fn source(argument: &Arg, texts: &ArgMatches) -> String {
    match texts.value_source(argument.get_id().as_str()) {
        Some(ValueSource::CommandLine) => FLAG.to_owned(),
        Some(ValueSource::EnvVariable) => {
            let variable = argument.get_env().unwrap_or_default();
            variable.to_string_lossy().into_owned()
        }
        _ => DEFAULT.to_owned(),
    }
}

/// Returns a setting as a flag with its value, or `None` if it is not set.
fn set(argument: &Arg, texts: &ArgMatches) -> Option<OsString> {
    if source(argument, texts) == DEFAULT {
        return None;
    }
    let mut flag = OsString::from(format!("--{}=", argument.get_long()?));
    let values: Vec<_> = texts.get_raw(argument.get_id().as_str())?.collect();
    flag.push(values.join(OsStr::new(",")));
    Some(flag)
}

/// Returns a line for each setting, with its flag, its value and the source of the value. `defaults` are
/// those that depend on the machine.
fn report(check: &clap::Command, texts: &ArgMatches, defaults: &Defaults) -> String {
    let mut lines = String::new();
    for argument in check.get_arguments() {
        let is_setting = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
        let Some(long) = argument.get_long().filter(|_| is_setting) else {
            continue;
        };
        let id = argument.get_id().as_str();
        let mut values = texts.get_raw(id).into_iter().flatten().peekable();
        let value = match values.peek() {
            None => defaults
                .iter()
                .find(|(flag, _)| *flag == long)
                .map_or_else(|| "(not set)".to_owned(), |(_, value)| value.clone()),
            Some(value) => shown(id, &value.to_string_lossy()),
        };
        let value = values
            .skip(1)
            .fold(value, |all, more| all + "," + &more.to_string_lossy());
        let source = source(argument, texts);
        for part in ["--", long, " ", &value, "  # ", &source, "\n"] {
            lines += part;
        }
    }
    lines
}

/// Returns a value without its secrets. An address may contain a password, and so may a malformed address.
/// A PEM key may be the private key of its pair.
fn shown(id: &str, value: &str) -> String {
    let shown = match id {
        "store" => StorePlace::from(value).shown(),
        _ if value.contains(PEM) => Some("(PEM)".to_owned()),
        _ if id == "upstream_url" || value.contains("://") => {
            Target::upstream(value).ok().map(|target| {
                let host = target.to_string();
                let is_all = target.as_str().trim_end_matches('/') == host;
                host + if is_all { "" } else { "/…" }
            })
        }
        _ => Some(value.lines().next().unwrap_or_default().to_owned()),
    };
    shown.unwrap_or_else(|| "…".to_owned())
}

/// Returns a line for each variable that looks like a setting but is not.
fn unknown_variables() -> String {
    let unknown = super::unknown_variables().into_iter();
    unknown.fold(String::new(), |lines, unknown| {
        lines + "# " + &unknown.to_string() + "\n"
    })
}

/// Returns the line of the log level, which has no flag.
fn log_setting() -> String {
    match logging::directives() {
        none if none.is_empty() => format!("{} info  # default\n", logging::VARIABLE),
        directives => format!("{} {directives}\n", logging::VARIABLE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_shown_without_secrets_and_malformed_address_not_at_all() {
        for (id, value, expected) in [
            ("upstream_url", "https://api.example", "https://api.example"),
            (
                "upstream_url",
                "https://api.example:8443/",
                "https://api.example:8443",
            ),
            (
                "upstream_url",
                "http://[::1]:1/v1/secret",
                "http://[::1]:1/…",
            ),
            ("upstream_url", "https://user:secret@host", "…"),
            ("upstream_url", "https://host?key=secret", "…"),
            ("upstream_url", "https:/user:secret@host", "…"),
            ("upstream_url", "user:secret@host", "…"),
            ("upstream_url", "https:user:secret@host/x", "…"),
            ("upstream_url", r"https:\\user:secret@host", "…"),
            ("upstream_url", "user:secret@h://x", "…"),
            ("upstream_url", "secret", "…"),
            ("store", "sqlite:/data/x.db", "sqlite:/data/x.db"),
            ("store", "postgres://u:secret@h/d", "postgres://h:5432/…"),
            (
                "store",
                "postgres://u:se/cret@h,[::1]:1/d?connect_timeout=3",
                "postgres://h:5432,[::1]:1/…",
            ),
            (
                "store",
                "postgres://u@%2Frun%2Fpg/d",
                "postgres:///run/pg:5432/…",
            ),
            (
                "store",
                "postgres:///d?host=h&user=secret",
                "postgres://h/…",
            ),
            ("store", "postgres://u:a@secret@h/d", "…"),
            ("store", "postgres://u:secret", "…"),
            ("store", "postgres://u:se?secret", "…"),
            ("store", "postgres://u:secret@/d", "…"),
            ("store", "sqlite:postgres://u:secret@h/d", "…"),
            ("store", "mysql://u:secret@h/d", "…"),
            ("upstream_public_key", "/keys/api.pem", "/keys/api.pem"),
            (
                "upstream_public_key",
                "-----BEGIN SOME KEY-----secret",
                "(PEM)",
            ),
            (
                "upstream_public_key",
                "'-----BEGIN SOME KEY-----\\nsecret",
                "(PEM)",
            ),
            ("upstream_public_key", "https://user:secret@host/key", "…"),
            ("ca_file", "-----BEGIN CERTIFICATE-----", "(PEM)"),
            ("listen", "127.0.0.1:1", "127.0.0.1:1"),
        ] {
            assert_eq!(shown(id, value), expected, "{value}");
        }
    }
}
