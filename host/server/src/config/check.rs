//! `bulkhead check-config`: what would be in force, and every problem with it at once.

use super::signing::{PEM, StoreSetting};
use super::{Cli, Settings};
use crate::components;
use crate::log;
use crate::secrets::Secrets;
use crate::signing;
use bulkhead_outbound::Target;
use clap::error::{ContextKind, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches as _};
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

const NAME: &str = "check-config";

/// Whether the command line asks for it. clap ends at the first problem, so that this is found out
/// before it is asked.
pub(crate) fn is_asked_for(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|word| word == NAME)
}

/// Prints the settings and the problems; status 0 where there are none.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    let (report, problems) = check(arguments);
    let mut out = std::io::stdout().lock();
    let mut printed = write!(out, "{report}");
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

fn check(mut arguments: Vec<OsString>) -> (String, Vec<String>) {
    let mut problems = Vec::new();
    let mut ignored = Vec::new();
    let mut command;
    let matches = loop {
        command = without_variables(&arguments, &ignored);
        let error = match command.try_get_matches_from_mut(&arguments) {
            Ok(matches) => break matches,
            Err(error) => error,
        };
        if matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
        ) {
            error.exit();
        }
        let text = error.to_string();
        // What would be possible follows on a line of its own.
        let told: Vec<_> = text
            .lines()
            .map(str::trim)
            .take_while(|line| !line.is_empty())
            .collect();
        let text = told.join(" ").trim_start_matches("error: ").to_owned();
        // What is wrong is taken out, so that the next problem shows.
        let culprit = error.get(ContextKind::InvalidArg).map(ToString::to_string);
        let Some(flag) = culprit
            .as_deref()
            .and_then(|arg| arg.split([' ', '=']).next())
        else {
            problems.push(text);
            return (String::new(), problems);
        };
        let variable = variable(&mut command, flag);
        if remove(&mut arguments, flag) {
            problems.push(text);
        } else if let Some((id, variable)) = variable {
            problems.push(format!("{text} (from {variable})"));
            ignored.push(id);
        } else {
            problems.push(text);
            return (String::new(), problems);
        }
    };
    let Some((_, matches)) = matches.subcommand() else {
        return (String::new(), problems);
    };
    match Settings::from_arg_matches(matches) {
        Ok(settings) => {
            problems.extend(settings.contradictions());
            problems.extend(components::problems(&settings.components));
            problems.extend(log::check(&log::directives()).err());
            let (state, problem) = secrets(&settings);
            problems.extend(problem);
            let (signing_state, signing_problems) = signing::check(&settings.signing);
            problems.extend(signing_problems);
            let computed = settings.computed();
            let report =
                report(&mut command, matches, &computed) + &log_setting() + &state + &signing_state;
            (report, problems)
        }
        Err(error) => {
            problems.push(error.to_string());
            (String::new(), problems)
        }
    }
}

/// The command line, with some settings deaf to their variables.
fn without_variables(arguments: &[OsString], ids: &[String]) -> clap::Command {
    Cli::command_for(arguments).mut_subcommand(NAME, |command| {
        ids.iter().fold(command, |command, id| {
            command.mut_arg(id, |argument| argument.env(None::<&str>))
        })
    })
}

/// Id and variable of a flag.
fn variable(command: &mut clap::Command, flag: &str) -> Option<(String, String)> {
    let check = command.find_subcommand(NAME)?;
    let argument = check
        .get_arguments()
        .find(|argument| argument.get_long() == flag.strip_prefix("--"))?;
    let variable = argument.get_env()?.to_str()?;
    Some((argument.get_id().to_string(), variable.to_owned()))
}

/// Takes a flag and its value away; whether it was there.
fn remove(arguments: &mut Vec<OsString>, flag: &str) -> bool {
    let with_value = format!("{flag}=");
    let Some(at) = arguments.iter().position(|argument| {
        let text = argument.to_string_lossy();
        text == flag || text.starts_with(&with_value)
    }) else {
        return false;
    };
    let removed = arguments.remove(at);
    let value = arguments.get(at);
    let has_value = value.is_some_and(|value| !value.to_string_lossy().starts_with("--"));
    if removed == flag && has_value {
        arguments.remove(at);
    }
    true
}

/// A line for each setting: its flag, its value, and where that came from. Some defaults are
/// `computed` for this machine.
fn report(
    command: &mut clap::Command,
    matches: &ArgMatches,
    computed: &[(&str, String)],
) -> String {
    let mut lines = String::new();
    let check = command.find_subcommand(NAME);
    let arguments = check.into_iter().flat_map(clap::Command::get_arguments);
    for argument in arguments {
        let (Some(long), Some(variable)) = (argument.get_long(), argument.get_env()) else {
            continue;
        };
        let id = argument.get_id().as_str();
        let mut values = matches.get_raw(id).into_iter().flatten().peekable();
        let value = match values.peek() {
            None => computed
                .iter()
                .find(|(flag, _)| *flag == long)
                .map_or_else(|| "(not set)".to_owned(), |(_, value)| value.clone()),
            Some(value) => shown(id, &value.to_string_lossy()),
        };
        let value = values
            .skip(1)
            .fold(value, |all, more| all + "," + &more.to_string_lossy());
        let variable = variable.to_string_lossy();
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => "flag".into(),
            Some(ValueSource::EnvVariable) => variable,
            _ => "default".into(),
        };
        for part in ["--", long, " ", &value, "  # ", &source, "\n"] {
            lines += part;
        }
    }
    lines
}

/// Addresses may hold a password, and so may what was meant to be one. A key in PEM may be the wrong
/// one of its pair.
fn shown(id: &str, value: &str) -> String {
    let shown = match id {
        "place" => StoreSetting::from(value).shown(),
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

/// The one setting without a flag.
fn log_setting() -> String {
    match log::directives() {
        none if none.is_empty() => format!("{} info  # default\n", log::VARIABLE),
        directives => format!("{} {directives}\n", log::VARIABLE),
    }
}

/// Whether there are secrets; never what they are.
fn secrets(settings: &Settings) -> (String, Option<String>) {
    let token = &settings.token;
    let loaded = Secrets::load(
        token.secret_file.as_deref(),
        token.secret_previous_file.as_deref(),
    );
    match loaded {
        Err(problem) => (String::new(), Some(problem)),
        Ok(None) => ("SECRET (not set)\nSECRET_PREVIOUS (not set)\n".into(), None),
        Ok(Some(secrets)) => {
            let previous = if secrets.previous.is_some() {
                "(set)"
            } else {
                "(not set)"
            };
            let mut state = format!("SECRET (set)\nSECRET_PREVIOUS {previous}\n");
            for name in secrets.weak() {
                state += &["# ", name, " has less than 32 octets, which is weak\n"].concat();
            }
            (state, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_if_it_is_one_and_then_without_what_may_be_secret() {
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
            ("place", "sqlite:/data/x.db", "sqlite:/data/x.db"),
            ("place", "postgres://u:secret@h/d", "postgres://h:5432/…"),
            (
                "place",
                "postgres://u:se/cret@h,[::1]:1/d?connect_timeout=3",
                "postgres://h:5432,[::1]:1/…",
            ),
            (
                "place",
                "postgres://u@%2Frun%2Fpg/d",
                "postgres:///run/pg:5432/…",
            ),
            (
                "place",
                "postgres:///d?host=h&user=secret",
                "postgres://h/…",
            ),
            ("place", "postgres://u:a@secret@h/d", "…"),
            ("place", "postgres://u:secret", "…"),
            ("place", "postgres://u:se?secret", "…"),
            ("place", "postgres://u:secret@/d", "…"),
            ("place", "sqlite:postgres://u:secret@h/d", "…"),
            ("place", "mysql://u:secret@h/d", "…"),
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
