//! Compiles the components of the server to machine code, and composes the component for offline use.

mod compose;

use bulkhead_wasm::{ALL, CRYPTO_SOFT, DECRYPT, OFFLINE};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The components that the server does not run. They are for offline use.
const NOT_SERVED: [&str; 2] = ["CRYPTO_SOFT", "OFFLINE"];

fn main() {
    // The script reads only its dependencies, and cargo runs it again when they change.
    println!("cargo::rerun-if-changed=build");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo should set OUT_DIR"));
    let mut constants = String::new();
    let served = ALL
        .iter()
        .filter(|(constant, ..)| !NOT_SERVED.contains(constant));
    for (constant, name, wasm) in served {
        let machine_code = bulkhead_sandbox::precompile(wasm)
            .unwrap_or_else(|error| panic!("cannot compile {name} to machine code: {error:#}"));
        let path = out.join(constant).with_extension("cwasm");
        write(&path, &machine_code);
        writeln!(
            constants,
            "/// The component `{name}`.\n\
             pub const {constant}: Artifact = Artifact {{\n    name: {name:?},\n    \
             wasm: bulkhead_wasm::{constant},\n    precompiled: include_bytes!(r\"{}\"),\n}};",
            path.display()
        )
        .expect("writing to a String cannot fail");
    }
    let offline =
        compose::decrypt_offline(DECRYPT.to_vec(), CRYPTO_SOFT.to_vec(), OFFLINE.to_vec())
            .unwrap_or_else(|error| panic!("cannot compose decrypt-offline: {error:#}"));
    let path = out.join("decrypt-offline.wasm");
    write(&path, &offline);
    writeln!(
        constants,
        "/// `decrypt`, `crypto-soft` and the command, composed into one component.\n\
         pub const DECRYPT_OFFLINE: &[u8] = include_bytes!(r\"{}\");",
        path.display()
    )
    .expect("writing to a String cannot fail");
    write(&out.join("artifacts.rs"), constants.as_bytes());
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("OUT_DIR should be writable");
}
