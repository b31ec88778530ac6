//! `bulkhead component …`.

use super::{check, export, list};
use crate::config::ComponentCommand;
use bulkhead_sandbox::CompileLimits;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// Does it, and prints what came of it.
pub(crate) fn run(command: &ComponentCommand) -> ExitCode {
    let done = match command {
        ComponentCommand::Check(settings) => Ok(check::check(settings)),
        ComponentCommand::List(settings) => list::list(settings).map(good),
        ComponentCommand::Compile { memory, time } => {
            return bulkhead_sandbox::serve_compiler(CompileLimits {
                memory_octets: *memory,
                time: Duration::from_secs(*time),
            });
        }
        ComponentCommand::Export(settings) => export::export(&settings.folder).map(good),
    };
    let (text, status) = match done {
        Ok(done) => done,
        Err(error) => {
            let _nowhere_else = writeln!(std::io::stderr(), "error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => status,
        Err(_) => ExitCode::FAILURE,
    }
}

fn good(text: String) -> (String, ExitCode) {
    (text, ExitCode::SUCCESS)
}
