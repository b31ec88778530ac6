//! Builds the guests for wasm32-wasip2 and compiles them to machine code.

mod compose;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "wasm32-wasip2";

/// A guest to be built.
struct Guest {
    package: &'static str,
    kind: Kind,
    features: &'static str,
    /// What the host knows it by.
    constant: &'static str,
    /// What operators know it by.
    name: &'static str,
}

/// What cargo builds, by the name it gives the file.
enum Kind {
    Library(&'static str),
    Command(&'static str),
}

const GUESTS: [Guest; 9] = [
    Guest {
        package: "bulkhead-decrypt",
        kind: Kind::Library("decrypt"),
        features: "",
        constant: "DECRYPT",
        name: "decrypt",
    },
    Guest {
        package: "bulkhead-crypto-soft",
        kind: Kind::Library("crypto_soft"),
        features: "",
        constant: "CRYPTO_SOFT",
        name: "crypto-soft",
    },
    Guest {
        package: "bulkhead-token",
        kind: Kind::Library("token"),
        features: "",
        constant: "TOKEN",
        name: "token",
    },
    Guest {
        package: "bulkhead-signing",
        kind: Kind::Library("signing"),
        features: "",
        constant: "SIGNING",
        name: "signing",
    },
    // For tests; what does not name a constant does not carry it.
    Guest {
        package: "bulkhead-hostile",
        kind: Kind::Library("hostile"),
        features: "",
        constant: "HOSTILE",
        name: "hostile",
    },
    trial("", "TRIAL"),
    trial("minor", "TRIAL_MINOR"),
    trial("major", "TRIAL_MAJOR"),
    trial("reaching", "TRIAL_REACHING"),
];

/// An edition of the token component for tests.
const fn trial(features: &'static str, constant: &'static str) -> Guest {
    Guest {
        package: "bulkhead-trial",
        kind: Kind::Library("trial"),
        features,
        constant,
        name: "token",
    }
}

/// What runs offline alone; the host never loads it.
const OFFLINE: Guest = Guest {
    package: "bulkhead-offline",
    kind: Kind::Command("offline"),
    features: "",
    constant: "OFFLINE",
    name: "decrypt-offline",
};

fn main() {
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR")).join("../..");
    for input in [
        "Cargo.toml",
        "Cargo.lock",
        "crypto",
        "envelope",
        "guest",
        "wit",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let out = PathBuf::from(var("OUT_DIR"));
    require_target();

    let mut constants = String::new();
    for guest in &GUESTS {
        let Guest {
            package,
            constant,
            name,
            ..
        } = guest;
        let wasm = build(&root, &out, guest);
        let machine_code = bulkhead_sandbox::precompile(&read(&wasm)).unwrap_or_else(|error| {
            panic!("{package} does not compile to machine code: {error:#}")
        });
        let precompiled = wasm.with_extension("cwasm");
        write(&precompiled, machine_code);
        let (wasm, precompiled) = (wasm.display(), precompiled.display());
        let _infallible = writeln!(
            constants,
            "/// `{package}`.\n\
             pub const {constant}: Artifact = Artifact {{\n    name: {name:?},\n    \
             wasm: include_bytes!(r\"{wasm}\"),\n    precompiled: include_bytes!(r\"{precompiled}\"),\n}};"
        );
    }
    let part = |constant: &str| read(&out.join(constant).with_extension("wasm"));
    let command = read(&build(&root, &out, &OFFLINE));
    let composed = compose::decrypt_offline(part("DECRYPT"), part("CRYPTO_SOFT"), command)
        .unwrap_or_else(|error| panic!("{} cannot be composed: {error:#}", OFFLINE.name));
    let wasm = out.join("DECRYPT_OFFLINE.wasm");
    write(&wasm, composed);
    let _infallible = writeln!(
        constants,
        "/// `decrypt` and `crypto-soft`, and a command around them.\n\
         pub const DECRYPT_OFFLINE: &[u8] = include_bytes!(r\"{}\");",
        wasm.display()
    );
    write(&out.join("artifacts.rs"), constants.into_bytes());
}

/// Builds one guest in a target directory of its own (the outer cargo holds the lock on the other) and
/// puts it where the next edition of it is not written over it.
fn build(root: &Path, out: &Path, guest: &Guest) -> PathBuf {
    let package = guest.package;
    let target_dir = out.join("guests");
    let mut cargo = Command::new(var("CARGO"));
    cargo.args(["rustc", "--profile", "guest", "--target", TARGET]);
    let file = match guest.kind {
        Kind::Library(file) => {
            cargo.args(["--lib", "--crate-type", "cdylib"]);
            file
        }
        Kind::Command(file) => {
            cargo.args(["--bin", file]);
            file
        }
    };
    cargo
        .args(["--features", guest.features])
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
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(variable);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", without_places(root, out));
    run(&mut cargo, &format!("building {package} for {TARGET}"));
    let built = target_dir.join(TARGET).join("guest").join(file);
    let wasm = out.join(guest.constant).with_extension("wasm");
    write(&wasm, read(&built.with_extension("wasm")));
    wasm
}

/// Panics name the file that they are in. Where that was on the machine that built is nobody's business,
/// and the same source is to give the same octets everywhere.
fn without_places(root: &Path, out: &Path) -> String {
    let cargo = std::env::var_os("CARGO_HOME")
        .map_or_else(|| PathBuf::from(var("HOME")).join(".cargo"), PathBuf::from);
    // The last that fits counts.
    let places = [(root, "/bulkhead"), (&cargo, "/cargo"), (out, "/out")];
    let flags = places.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    flags.join("\x1f")
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

fn write(path: &Path, octets: Vec<u8>) {
    fs::write(path, octets).expect("OUT_DIR is writable");
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
