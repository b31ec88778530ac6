//! The command line.

mod access_key;
mod check_config;
mod client;
mod component;
mod healthcheck;
#[cfg(test)]
mod reference;
mod requests;
mod transport;
mod variables;

use crate::app::Settings;
use crate::capabilities::signing::StoreSettings;
use bulkhead_http::{ByteSize, Setting};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use std::any::TypeId;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use variables::{UnknownVariable, unknown_variables};

/// Settings whose empty variable is an error. If it counted as not set, a misspelt name in a compose file would open
/// the server or turn its audit log off.
const PROTECTIONS: [&str; 5] = [
    "access-keys",
    "audit-log",
    "tls-cert",
    "tls-key",
    "tls-client-ca",
];

const AFTER_HELP: &str = "Sizes take B, KiB, MiB or GiB. Times take ms, s, m, h or d.\n\
    Secrets are variables, never flags: SECRET, SECRET_PREVIOUS, BULKHEAD_UPSTREAM_API_KEY,\n\
    BULKHEAD_WEBHOOK_SECRET, BULKHEAD_WEBHOOK_SECRET_PREVIOUS, BULKHEAD_STORE_PASSWORD (or the files\n\
    above).\n\
    BULKHEAD_LOG sets the log level: off, error, warn, info (the default), debug or trace, or levels \
    by target, as in bulkhead=debug,wasmtime=warn.";

/// Serves decryption of GPG messages, HMAC tokens and a signing relay over HTTP. Each call
/// of a component runs in a fresh WebAssembly sandbox.
///
/// Without any configuration, bulkhead serves POST /decryptMessage on 127.0.0.1:8080. Every flag can also
/// be set with the environment variable that is shown with it. The flag takes precedence. Sizes
/// are numbers of bytes, or have a unit (B, KiB, MiB, GiB). Times have a unit (ms, s, m, h, d).
#[derive(Debug, Parser)]
#[command(
    name = "bulkhead",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    after_help = AFTER_HELP
)]
struct Cli {
    /// The command. Without one, bulkhead serves.
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Serve HTTP. This is the default command.
    #[command(after_help = AFTER_HELP)]
    Serve(Box<Settings>),
    /// Print the configuration that would be used and every problem with it, without serving. The exit
    /// status is 1 if there is a problem.
    #[command(after_help = AFTER_HELP)]
    CheckConfig(Box<Settings>),
    /// Check whether a running server is ready. The exit status is 0 if it is. For health checks of
    /// containers.
    Healthcheck(client::ServerSettings),
    /// Inspect the requests of the signing relay. The server can run at the same time.
    #[command(subcommand)]
    Requests(requests::RequestsCommand),
    /// Inspect components: those that a running server uses, a component file, or the built-in ones.
    #[command(subcommand)]
    Component(component::ComponentCommand),
    /// Make access keys, and inspect the file that lists them.
    #[command(subcommand)]
    AccessKey(access_key::AccessKeyCommand),
    /// Create the tables of the store, or migrate them to the current version. A server also does this when
    /// it starts.
    Migrate(StoreSettings),
}

/// The result of the command line.
pub(crate) enum Invocation {
    Serve(Box<Settings>),
    /// The command has run and ended with this status.
    Done(ExitCode),
}

/// Parses the command line and runs its command, except serving. A help text or a parsing error ends the
/// process.
pub(crate) fn run(arguments: &[OsString]) -> Invocation {
    // clap stops at the first problem. This command reports all of them, and therefore parses by itself.
    if check_config::is_requested(arguments) {
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
        Some(Command::AccessKey(command)) => access_key::run(&command),
        Some(Command::Migrate(settings)) => requests::migrate(&settings),
    })
}

/// Returns the settings of a server from the variables alone. Invalid ones end the process.
fn settings_of_variables() -> Settings {
    let program = [OsString::from("bulkhead")];
    let matches = command(&program).get_matches_from(&program);
    Settings::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Returns the command line with its variables. If there is a subcommand, only its settings have variables.
/// clap would otherwise also parse them for the settings above it, and reject an invalid variable that a
/// flag overrides.
fn command(arguments: &[OsString]) -> clap::Command {
    let command = Cli::command();
    let settings: Vec<_> = command
        .get_arguments()
        .filter_map(|argument| Some(argument.get_long()?.to_owned()))
        .collect();
    let first = arguments.get(1);
    let has_subcommand = first.is_some_and(|name| command.find_subcommand(name).is_some());
    let variables: &[String] = if has_subcommand { &[] } else { &settings };
    with_names(command, variables).mut_subcommands(|subcommand| {
        with_names(subcommand, &settings).mut_subcommands(|command| with_names(command, &settings))
    })
}

/// Derives the variables of these settings from their names, and the value names of all settings from their
/// types.
fn with_names(command: clap::Command, settings: &[String]) -> clap::Command {
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
                // `${X:-}` in a compose file sets an empty variable. It counts as not set.
                match std::env::var_os(&variable) {
                    Some(value) if value.is_empty() && !PROTECTIONS.contains(&long) => argument,
                    Some(_) | None => argument.env(variable),
                }
            }
            _ => argument,
        }
    })
}

/// Prints a text and returns its status, or prints an error and returns a failure.
fn print<E: std::error::Error>(result: Result<(String, ExitCode), E>) -> ExitCode {
    let (text, status) = match result {
        Ok(done) => done,
        Err(error) => {
            // An error of standard error cannot be reported.
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
    fn command_line_passes_the_assertions_of_clap() {
        command(&[]).debug_assert();
    }

    #[test]
    fn every_setting_has_a_variable() {
        for argument in command(&[]).get_arguments() {
            let has_variable = argument.get_env().is_some();
            assert_eq!(has_variable, argument.get_long().is_some(), "{argument}");
        }
    }

    /// Problem documents name these flags, and offline components use these defaults.
    #[test]
    fn limits_have_the_names_and_defaults_of_their_flags() {
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
