//! The components under the plain `wasmtime` command, without a server.
//!
//! These tests are ignored by default. `BULKHEAD_TEST_WASMTIME` names the command. `./run_tests.sh
//! soak` installs it if it is missing.

mod invoke;
mod messages;

use bulkhead_tests::server;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The components that run without a server.
const SHIPPED: [&str; 3] = ["decrypt-offline", "signing", "token"];

/// Returns a component in the form that operators get.
fn shipped(name: &str) -> PathBuf {
    folder().join(name).with_extension("wasm")
}

/// Returns a precompiled component, for many runs.
fn compiled(name: &str) -> PathBuf {
    folder().join(name).with_extension("cwasm")
}

fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = FOLDER.get_or_init(|| {
        let made = tempfile::tempdir().expect("folder should be accessible");
        let path = made.path().to_str().expect("path should be UTF-8");
        let exported = server::run(&["component", "export", path], &[]);
        assert!(exported.status.success(), "{exported:?}");
        for name in SHIPPED {
            let [wasm, cwasm] =
                ["wasm", "cwasm"].map(|kind| made.path().join(name).with_extension(kind));
            let arguments: [&OsStr; 4] = [
                "compile".as_ref(),
                wasm.as_ref(),
                "-o".as_ref(),
                cwasm.as_ref(),
            ];
            let compiled = wasmtime(&arguments, b"");
            assert!(compiled.status.success(), "{compiled:?}");
        }
        made
    });
    made.path()
}

fn wasmtime(arguments: &[&OsStr], input: &[u8]) -> Output {
    let wasmtime = std::env::var_os("BULKHEAD_TEST_WASMTIME")
        .expect("BULKHEAD_TEST_WASMTIME should name a wasmtime command");
    let mut child = Command::new(wasmtime)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("wasmtime should start");
    // All output fits into the pipe until the input is read.
    let _refused_early = child
        .stdin
        .take()
        .expect("pipe should be readable")
        .write_all(input);
    child.wait_with_output().expect("wasmtime should end")
}

/// Runs `wasmtime run FILE` with options before the file and arguments after it.
fn run(options: &[&str], file: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut all: Vec<&OsStr> = vec!["run".as_ref()];
    if file.extension() == Some("cwasm".as_ref()) {
        all.push("--allow-precompiled".as_ref());
    }
    all.extend(options.iter().map(OsStr::new));
    all.push(file.as_ref());
    all.extend(arguments.iter().map(OsStr::new));
    wasmtime(&all, input)
}
