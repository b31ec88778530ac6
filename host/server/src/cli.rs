//! The command line.

mod check_config;
mod client;
mod component;
mod healthcheck;
mod requests;

use crate::app::Settings;
use crate::capabilities::signing::StoreSettings;
use bulkhead_http::{ByteSize, Setting};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use std::any::TypeId;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

const LOG_HELP: &str = "Units: sizes take B, KiB, MiB or GiB, times ms, s, m, h or d.\n\
    Secrets are variables, never flags: SECRET, SECRET_PREVIOUS, BULKHEAD_UPSTREAM_API_KEY,\n\
    BULKHEAD_WEBHOOK_SECRET, BULKHEAD_STORE_PASSWORD (or the files above).\n\
    BULKHEAD_LOG sets what is logged: off, error, warn, info (the default), debug, trace, or such \
    levels by target, as in bulkhead=debug,wasmtime=warn.";

/// Opens GPG messages, makes tokens and has messages signed, behind HTTP and each in a fresh
/// WebAssembly sandbox.
///
/// Without any configuration it serves POST /decryptMessage on 127.0.0.1:8080. Every flag can be
/// given as the environment variable named beside it; the flag wins. Sizes take a unit (B, KiB,
/// MiB, GiB), durations too (ms, s, m, h, d).
#[derive(Debug, Parser)]
#[command(
    name = "bulkhead",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    after_help = LOG_HELP
)]
struct Cli {
    /// What to do; without a word, serve.
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Serve HTTP (what happens without a subcommand too).
    #[command(after_help = LOG_HELP)]
    Serve(Box<Settings>),
    /// Print what would be in force, with every problem, and serve nothing.
    #[command(after_help = LOG_HELP)]
    CheckConfig(Box<Settings>),
    /// Ask a running server whether it is ready; status 0 if so. For container health checks.
    Healthcheck(client::ServerSettings),
    /// Look at the requests of the signing relay, also beside a running server.
    #[command(subcommand)]
    Requests(requests::RequestsCommand),
    /// Look at components: those that a running server uses, a file that it is to use, or those in this
    /// binary.
    #[command(subcommand)]
    Component(component::ComponentCommand),
    /// Make the tables of the store, or bring them up to date, and end. A server does that by itself
    /// when it starts.
    Migrate(StoreSettings),
}

/// What the command line asks for.
pub(crate) enum Invocation {
    Serve(Box<Settings>),
    /// It was done, with this status.
    Done(ExitCode),
}

/// Does what the command line asks for, except serving. A help text or an error ends the process.
pub(crate) fn run(arguments: &[OsString]) -> Invocation {
    // clap ends at the first problem, so that this command does not leave the parsing to it.
    if check_config::is_asked_for(arguments) {
        return Invocation::Done(check_config::run(arguments));
    }
    let matches = command(arguments).get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    Invocation::Done(match cli.command {
        None => return Invocation::Serve(Box::new(cli.settings)),
        Some(Command::Serve(settings)) => return Invocation::Serve(settings),
        Some(Command::CheckConfig(_)) => check_config::run(arguments),
        Some(Command::Healthcheck(settings)) => healthcheck::run(&settings),
        Some(Command::Requests(command)) => requests::run(&command),
        Some(Command::Component(command)) => component::run(&command),
        Some(Command::Migrate(settings)) => requests::migrate(&settings),
    })
}

/// The settings of a server by the variables alone.
fn settings_of_variables() -> Settings {
    let program = [OsString::from("bulkhead")];
    let matches = command(&program).get_matches_from(&program);
    Settings::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The command line with its variables. A subcommand has settings of its own: those above it have no
/// variables then, because clap would reject a broken one even if a flag overrules it.
fn command(arguments: &[OsString]) -> clap::Command {
    let command = Cli::command();
    let settings: Vec<_> = command
        .get_arguments()
        .filter_map(|argument| Some(argument.get_long()?.to_owned()))
        .collect();
    let word = arguments.get(1);
    let has_subcommand = word.is_some_and(|word| command.find_subcommand(word).is_some());
    let variables: &[String] = if has_subcommand { &[] } else { &settings };
    named(command, variables).mut_subcommands(|subcommand| {
        named(subcommand, &settings).mut_subcommands(|command| named(command, &settings))
    })
}

/// Gives these settings the variables that follow from their names, and all values a name by their type.
fn named(command: clap::Command, settings: &[String]) -> clap::Command {
    command.mut_args(|argument| {
        let value_type = argument.get_value_parser().type_id();
        let is = |types: &[TypeId]| types.iter().any(|is| value_type == *is);
        let value_name = if is(&[TypeId::of::<ByteSize>()]) {
            Some("SIZE")
        } else if is(&[TypeId::of::<Duration>()]) {
            Some("TIME")
        } else if is(&[
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
        ]) {
            Some("N")
        } else {
            None
        };
        let argument = match value_name {
            Some(name) if argument.get_long().is_some() => argument.value_name(name),
            _ => argument,
        };
        match argument.get_long() {
            Some(long) if settings.iter().any(|setting| setting == long) => {
                let variable = Setting::variable_of(&long.replace('-', "_"));
                argument.env(variable)
            }
            _ => argument,
        }
    })
}

/// Prints a text, or an error. The status is that of the text if it can be printed.
fn print<E: std::error::Error>(result: Result<(String, ExitCode), E>) -> ExitCode {
    let (text, status) = match result {
        Ok(done) => done,
        Err(error) => {
            // There is nowhere else to write to.
            let _unseen = writeln!(std::io::stderr(), "error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => status,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_envelope::Limit;

    #[test]
    fn the_command_line_is_consistent() {
        command(&[]).debug_assert();
    }

    #[test]
    fn every_setting_has_a_variable() {
        for argument in command(&[]).get_arguments() {
            let has_variable = argument.get_env().is_some();
            assert_eq!(has_variable, argument.get_long().is_some(), "{argument}");
        }
    }

    /// Problem documents name flags, and offline the defaults come from there too.
    #[test]
    fn limits_are_called_as_the_flags_are_and_have_their_defaults() {
        let command = command(&[]);
        for limit in Limit::ALL {
            let flag = limit.setting().flag();
            let argument = command
                .get_arguments()
                .find(|argument| argument.get_long() == flag.strip_prefix("--"))
                .unwrap_or_else(|| panic!("{limit:?} has no flag"));
            let variable = argument.get_env().and_then(std::ffi::OsStr::to_str);
            assert_eq!(variable, Some(limit.setting().variable().as_str()));
            let default = argument.get_default_values().first();
            assert_eq!(
                default.and_then(|text| text.to_str()),
                Some(limit.default())
            );
        }
    }
}
