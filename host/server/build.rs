//! Makes `openapi.json` of the `openapi.yaml` that is kept by hand.

use std::path::Path;

fn main() {
    let yaml = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi.yaml");
    println!("cargo::rerun-if-changed={}", yaml.display());
    let text = std::fs::read_to_string(&yaml).expect("openapi.yaml is there");
    let document: serde_json::Value =
        serde_saphyr::from_str(&text).expect("openapi.yaml is YAML that JSON can hold");
    let out = std::env::var_os("OUT_DIR").expect("set by cargo");
    let json = document.to_string() + "\n";
    std::fs::write(Path::new(&out).join("openapi.json"), json).expect("written");
}
