//! The part of WASI that a guest with Rust's standard library imports. It is inert: there are no variables,
//! no arguments and no input, and output is discarded. Standard error is discarded too, because the message
//! of a panic may quote plaintext. Files, sockets and clocks are not linked. A component that imports them
//! is rejected.

mod random;
mod streams;

use crate::instance::State;
use random::{Numbers, Scarce};
use streams::{Inert, Streams};
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliCtxView};
use wasmtime_wasi::p2::bindings::random as wasi_random;
use wasmtime_wasi::p2::bindings::{cli, sync};

/// The interfaces, with the version that is linked. Versions with the same minor number are compatible.
pub(crate) const INERT: [&str; 16] = [
    "wasi:cli/environment@0.2.6",
    "wasi:cli/exit@0.2.6",
    "wasi:cli/stdin@0.2.6",
    "wasi:cli/stdout@0.2.6",
    "wasi:cli/stderr@0.2.6",
    "wasi:cli/terminal-input@0.2.6",
    "wasi:cli/terminal-output@0.2.6",
    "wasi:cli/terminal-stdin@0.2.6",
    "wasi:cli/terminal-stdout@0.2.6",
    "wasi:cli/terminal-stderr@0.2.6",
    "wasi:io/error@0.2.6",
    "wasi:io/poll@0.2.6",
    "wasi:io/streams@0.2.6",
    "wasi:random/random@0.2.6",
    "wasi:random/insecure@0.2.6",
    "wasi:random/insecure-seed@0.2.6",
];

struct Errors;

impl HasData for Errors {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links the inert interfaces.
pub(crate) fn add_inert(linker: &mut Linker<State>) -> Result<()> {
    fn view(state: &mut State) -> WasiCliCtxView<'_> {
        state.cli()
    }
    fn table(state: &mut State) -> &mut ResourceTable {
        &mut state.table
    }
    fn numbers(state: &mut State) -> Scarce<'_> {
        Scarce(state.random())
    }
    fn inert(state: &mut State) -> Inert<'_> {
        Inert(&mut state.table)
    }
    cli::environment::add_to_linker::<State, WasiCli>(linker, view)?;
    cli::exit::add_to_linker::<State, WasiCli>(linker, view)?;
    cli::stdin::add_to_linker::<State, WasiCli>(linker, view)?;
    cli::stdout::add_to_linker::<State, WasiCli>(linker, view)?;
    cli::stderr::add_to_linker::<State, WasiCli>(linker, view)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(linker, view)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(linker, view)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(linker, view)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(linker, view)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(linker, view)?;
    sync::io::error::add_to_linker::<State, Errors>(linker, table)?;
    sync::io::poll::add_to_linker::<State, Streams>(linker, inert)?;
    sync::io::streams::add_to_linker::<State, Streams>(linker, inert)?;
    wasi_random::random::add_to_linker::<State, Numbers>(linker, numbers)?;
    wasi_random::insecure::add_to_linker::<State, Numbers>(linker, numbers)?;
    wasi_random::insecure_seed::add_to_linker::<State, Numbers>(linker, numbers)
}
