//! `bulkhead component …`.

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
    /// Say what a server would say to a file in its --components-dir, with nothing running. Limits and
    /// pins are those of the variables set here; status 0 if it would be taken.
    Check(check::CheckSettings),
    /// Ask a running server which components are in force, and which files it refused.
    List(list::ListSettings),
    /// Write the components of this binary to a folder: decrypt.wasm, token.wasm and signing.wasm as a
    /// server uses them; decrypt-offline.wasm, which opens messages under the plain wasmtime command; and
    /// crypto-soft.wasm, to compose others with. What is there already is not written over.
    Export(export::ExportSettings),
    /// Compile a component, in a process of its own; started by a server and by `check`.
    #[command(hide = true, name = COMPILE[1])]
    Compile {
        /// Maximum memory, in bytes.
        memory: u64,
        /// Maximum time of a processor, in seconds.
        time: u64,
    },
}

/// Does it, and prints the result.
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
                memory_octets: *memory,
                time: Duration::from_secs(*time),
            })
        }
    }
}
