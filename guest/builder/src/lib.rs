//! Builds guests for WebAssembly, for build scripts.
//!
//! A build script calls [`build`] and writes what it returns to the folder that cargo names. Nothing here
//! depends on wasmtime, so that guests compile while wasmtime does.

#![expect(
    clippy::print_stdout,
    reason = "build scripts control cargo by standard output"
)]

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

/// A guest to build.
pub struct Guest {
    /// The constant that holds its bytes, in the file that [`build`] writes.
    pub constant: &'static str,
    /// The folder of its crate, below `guest/`. The package is called `bulkhead-` and this.
    pub folder: &'static str,
    /// Features of its crate, separated by commas.
    pub features: &'static str,
    /// The form of the component.
    pub kind: Kind,
    /// Arguments for the linker.
    pub linker: &'static [&'static str],
}

/// The form of a component.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Exports interfaces: the crate's library.
    Library,
    /// Exports `wasi:cli/run`: the crate's program.
    Command,
}

impl Guest {
    /// The library in a folder, without features.
    pub const fn library(constant: &'static str, folder: &'static str) -> Self {
        Self {
            constant,
            folder,
            features: "",
            kind: Kind::Library,
            linker: &[],
        }
    }
}

/// Builds guests, and writes `guests.rs` to `OUT_DIR`: one constant of type `&[u8]` for each guest, and `ALL` with the names of
/// the constants, the folders and the bytes.
///
/// # Panics
/// If a step fails. A build script has no other way to report an error.
pub fn build(guests: &[Guest]) {
    let root = Path::new(&var("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the crate should be in the source tree");
    for input in [
        "Cargo.toml",
        "Cargo.lock",
        "crypto",
        "envelope",
        "guest/features",
        "wit",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    require_target();
    let out = PathBuf::from(var("OUT_DIR"));
    let mut constants = String::new();
    let mut all = String::new();
    for guest in guests {
        let folder = root.join("guest").join(guest.folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        let built = build_one(&root, &folder, &shared_target(&out), guest);
        let wasm = out.join(guest.constant).with_extension("wasm");
        copy(&built, &wasm);
        writeln!(
            constants,
            "/// The component `{}`.\npub const {}: &[u8] = include_bytes!(r\"{}\");",
            guest.folder,
            guest.constant,
            wasm.display()
        )
        .expect("writing to a String cannot fail");
        let Guest {
            constant, folder, ..
        } = guest;
        write!(all, "({constant:?}, {folder:?}, {constant}), ")
            .expect("writing to a String cannot fail");
    }
    writeln!(
        constants,
        "/// Constant, folder and bytes of each component.\npub const ALL: &[(&str, &str, &[u8])] = &[{all}];"
    )
    .expect("writing to a String cannot fail");
    fs::write(out.join("guests.rs"), constants).expect("OUT_DIR should be writable");
}

/// The target folder of guests: one for all profiles of the native build, because the guests are the same in
/// each. It is not the native one, because cargo holds the lock on that.
fn shared_target(out: &Path) -> PathBuf {
    // target/PROFILE/build/PACKAGE-HASH/out
    out.ancestors()
        .nth(4)
        .expect("OUT_DIR should be below the target folder")
        .join("guests")
}

/// Returns the path of the component, which the next build of the same crate overwrites.
fn build_one(root: &Path, folder: &Path, target: &Path, guest: &Guest) -> PathBuf {
    let mut cargo = Command::new(var("CARGO"));
    cargo.args([
        "rustc",
        "--locked",
        "--profile",
        "guest",
        "--target",
        TARGET,
    ]);
    let file = guest.folder.replace('-', "_");
    match guest.kind {
        Kind::Library => cargo.args(["--lib", "--crate-type", "cdylib"]),
        Kind::Command => cargo.args(["--bin", &file]),
    };
    cargo
        .args(["--features", guest.features])
        .arg("--target-dir")
        .arg(target)
        .arg("--")
        .args(
            guest
                .linker
                .iter()
                .map(|argument| format!("-Clink-arg={argument}")),
        )
        // Features refer to the package in the current folder.
        .current_dir(folder);
    // Settings of the native build (flags for its processor, clippy as the compiler, instrumentation) do not
    // fit the guests.
    for variable in [
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_BUILD_DIR",
    ] {
        cargo.env_remove(variable);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", remapped_paths(root, target));
    let status = cargo
        .status()
        .unwrap_or_else(|error| panic!("cannot start {cargo:?}: {error}"));
    assert!(status.success(), "cannot build {}: {status}", guest.folder);
    target
        .join(TARGET)
        .join("guest")
        .join(file)
        .with_extension("wasm")
}

/// Panic messages contain the path of the source file. Replacing the folders of this machine keeps them out of
/// the components, and gives the same bytes on every machine.
fn remapped_paths(root: &Path, target: &Path) -> OsString {
    let cargo_home = env::var_os("CARGO_HOME")
        .map_or_else(|| PathBuf::from(var("HOME")).join(".cargo"), PathBuf::from);
    // If several prefixes match, the last one applies.
    [
        (root, "/bulkhead"),
        (&cargo_home, "/cargo"),
        (target, "/out"),
    ]
    .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
    .join("\x1f")
    .into()
}

/// Makes sure that the compiler has the Wasm target; adds it by rustup if it is missing.
/// A `rust-toolchain.toml` alone does not install it where automatic installs are off.
fn require_target() {
    if has_target() {
        return;
    }
    println!("cargo::warning=the Rust target {TARGET} is missing; asking rustup to add it");
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]);
    // Cargo was started by rustup's proxy, which names the toolchain in use here.
    if let Ok(toolchain) = env::var("RUSTUP_TOOLCHAIN") {
        rustup.args(["--toolchain", &toolchain]);
    }
    let added = rustup.status().is_ok_and(|status| status.success());
    assert!(
        added && has_target(),
        "the guests need the Rust target {TARGET}, and rustup could not add it.\n\
         With rustup: `rustup target add {TARGET}`. Without rustup: install the standard library \
         for {TARGET} that belongs to your compiler (Debian: libstd-rust-dev-wasm32; Fedora: \
         rust-std-static-{TARGET}; others: the rust-std component of the same version) and build again."
    );
}

fn has_target() -> bool {
    let output = Command::new(var("RUSTC"))
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .expect("rustc should run");
    let directory = String::from_utf8_lossy(&output.stdout);
    output.status.success() && Path::new(directory.trim()).is_dir()
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo should set {name} for build scripts"))
}
