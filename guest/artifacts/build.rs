//! Builds the guests for wasm32-wasip2 and compiles them to machine code.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "wasm32-wasip2";

/// A guest to be built.
struct Guest {
    package: &'static str,
    /// What cargo calls the file.
    stem: &'static str,
    features: &'static str,
    constant: &'static str,
    /// Of the component.
    name: &'static str,
}

const fn guest(
    package: &'static str,
    stem: &'static str,
    constant: &'static str,
    name: &'static str,
) -> Guest {
    let features = "";
    Guest {
        package,
        stem,
        features,
        constant,
        name,
    }
}

/// Other editions of a token component, for tests.
const fn trial(features: &'static str, constant: &'static str) -> Guest {
    let guest = guest("bulkhead-trial", "trial", constant, "token");
    Guest { features, ..guest }
}

const GUESTS: [Guest; 9] = [
    guest("bulkhead-decrypt", "decrypt", "DECRYPT", "decrypt"),
    guest(
        "bulkhead-crypto-soft",
        "crypto_soft",
        "CRYPTO_SOFT",
        "crypto-soft",
    ),
    guest("bulkhead-token", "token", "TOKEN", "token"),
    guest("bulkhead-signing", "signing", "SIGNING", "signing"),
    // For tests; what does not name a constant does not carry it.
    guest("bulkhead-hostile", "hostile", "HOSTILE", "hostile"),
    trial("", "TRIAL"),
    trial("minor", "TRIAL_MINOR"),
    trial("major", "TRIAL_MAJOR"),
    trial("reaching", "TRIAL_REACHING"),
];

fn main() {
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR")).join("../..");
    for input in ["Cargo.toml", "Cargo.lock", "crypto", "guest", "wit"] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let out = PathBuf::from(var("OUT_DIR"));
    require_target();

    let mut constants = Vec::new();
    for guest in GUESTS {
        let Guest {
            package,
            constant,
            name,
            ..
        } = guest;
        let built = build(&root, &out, &guest);
        // The next edition has the same file name.
        let [wasm, precompiled] =
            ["wasm", "cwasm"].map(|kind| out.join(constant).with_extension(kind));
        fs::copy(&built, &wasm).expect("OUT_DIR is writable");
        let machine_code = bulkhead_sandbox::precompile(&read(&wasm)).unwrap_or_else(|error| {
            panic!("{package} does not compile to machine code: {error:#}")
        });
        fs::write(&precompiled, machine_code).expect("OUT_DIR is writable");
        let (wasm, precompiled) = (wasm.display(), precompiled.display());
        constants.push(format!(
            "/// `{package}`.\n\
             pub const {constant}: Artifact = Artifact {{\n    name: {name:?},\n    \
             wasm: include_bytes!(r\"{wasm}\"),\n    precompiled: include_bytes!(r\"{precompiled}\"),\n}};\n"
        ));
    }
    fs::write(out.join("artifacts.rs"), constants.concat()).expect("OUT_DIR is writable");
}

/// Builds one guest in a target directory of its own: the outer cargo holds the lock on the other.
fn build(root: &Path, out: &Path, guest: &Guest) -> PathBuf {
    let package = guest.package;
    let target_dir = out.join("guests");
    let mut cargo = Command::new(var("CARGO"));
    cargo
        .args(["rustc", "--lib", "--profile", "guest", "--target", TARGET])
        .args(["--crate-type", "cdylib", "--features", guest.features])
        .arg("--target-dir")
        .arg(&target_dir)
        .args(compiler_arguments(package))
        // Features are those of the package that cargo is called in.
        .current_dir(
            root.join("guest")
                .join(package.trim_start_matches("bulkhead-")),
        );
    // What was meant for the native build (flags for its processor, clippy as the compiler,
    // instrumentation) does not fit the guests.
    for variable in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(variable);
    }
    run(&mut cargo, &format!("building {package} for {TARGET}"));
    target_dir
        .join(TARGET)
        .join("guest")
        .join(guest.stem)
        .with_extension("wasm")
}

/// What one guest is built with beside its profile.
fn compiler_arguments(package: &str) -> &'static [&'static str] {
    match package {
        // Instead of 1 MiB: when an instance is gone, the kernel is asked for each page of it whether
        // it was written to.
        "bulkhead-token" => &["--", "-Clink-arg=-zstack-size=32768"],
        _ => &[],
    }
}

/// Sees to it that the compiler has the Wasm target; asks rustup for it where it is missing.
/// A `rust-toolchain.toml` alone does not do it where automatic installs are switched off.
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
        .expect("rustc runs");
    let directory = String::from_utf8_lossy(&output.stdout);
    output.status.success() && Path::new(directory.trim()).is_dir()
}

fn run(command: &mut Command, what: &str) {
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("{what}: cannot start {command:?}: {error}"));
    assert!(status.success(), "{what} failed: {status}");
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
