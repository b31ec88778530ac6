//! The components without a server, under the plain `wasmtime` command.
//!
//! Ignored by default, since it takes that command: `BULKHEAD_TEST_WASMTIME` names it, and `run_tests.sh`
//! installs it where it is missing.

mod invoke;
mod messages;

use bulkhead_tests::server;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// What runs without a server.
const SHIPPED: [&str; 3] = ["decrypt-offline", "signing", "token"];

/// The components as operators get them.
fn shipped(name: &str) -> PathBuf {
    folder().join(name).with_extension("wasm")
}

/// Compiled beforehand, for many runs of the same component.
fn compiled(name: &str) -> PathBuf {
    folder().join(name).with_extension("cwasm")
}

fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = FOLDER.get_or_init(|| {
        let made = tempfile::tempdir().expect("a folder");
        let path = made.path().to_str().expect("a path of text");
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
        .expect("BULKHEAD_TEST_WASMTIME names a wasmtime command");
    let mut child = Command::new(wasmtime)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("wasmtime starts");
    // Answers are shorter than a pipe holds until all input is read.
    let _refused_early = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("wasmtime ends")
}

/// `wasmtime run FILE`, with options in front of the file and arguments behind it.
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
