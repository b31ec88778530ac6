//! `bulkhead component …`: the commands on components.

mod check;
mod export;
mod list;

use super::print;
use crate::components::COMPILE;
use bulkhead_sandbox::CompileLimits;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Subcommand)]
pub(super) enum ComponentCommand {
    /// Check whether a server would accept a file from its --components-dir, without a running server. Limits
    /// and pins come from the environment variables. The exit status is 0 if the file would be accepted.
    Check(check::CheckSettings),
    /// List the active components of a running server, and the files that it rejected. If the server has
    /// access keys, BULKHEAD_ACCESS_KEY or the file BULKHEAD_ACCESS_KEY_FILE must hold a key with the scope
    /// observe.
    #[expect(
        clippy::doc_markdown,
        reason = "the help text shows variables as they are"
    )]
    List(list::ListSettings),
    /// Write the built-in components to a folder: decrypt.wasm, token.wasm and signing.wasm, as a server
    /// uses them; decrypt-offline.wasm, which decrypts messages with the wasmtime command; and
    /// crypto-soft.wasm, for composition with other components. Existing files are not overwritten.
    Export(export::ExportSettings),
    /// Compile a component in this process. A server and `component check` start this command.
    #[command(hide = true, name = COMPILE[1])]
    Compile {
        /// Maximum memory, in bytes.
        memory: u64,
        /// Maximum processor time, in seconds.
        time: u64,
    },
}

/// Runs the command and prints its result.
pub(super) fn run(command: &ComponentCommand) -> ExitCode {
    let success = |text| (text, ExitCode::SUCCESS);
    match command {
        ComponentCommand::Check(settings) => {
            print(Ok::<_, std::convert::Infallible>(check::check(settings)))
        }
        ComponentCommand::List(settings) => print(list::list(settings).map(success)),
        ComponentCommand::Export(settings) => print(export::export(&settings.folder).map(success)),
        ComponentCommand::Compile { memory, time } => {
            bulkhead_sandbox::serve_compiler(CompileLimits {
                memory_bytes: *memory,
                time: Duration::from_secs(*time),
            })
        }
    }
}
