//! Composes components into one that needs no imports except WASI.

use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};

const CRYPTO: [&str; 2] = ["bulkhead:crypto/kdf@0.2.0", "bulkhead:crypto/bulk@0.2.0"];
const DECRYPTOR: &str = "bulkhead:decrypt/decryptor@0.2.0";
const ABOUT: &str = "bulkhead:component/about@0.2.0";
/// Any version, because the compiler's standard library determines it.
const RUN: &str = "wasi:cli/run@";

/// Composes `command`, `decrypt` and `crypto_soft`, without changing them. The result exports the command and the
/// interfaces of `decrypt`, so that `wasmtime run` can use it with and without `--invoke`.
pub(crate) fn decrypt_offline(
    decrypt: Vec<u8>,
    crypto_soft: Vec<u8>,
    command: Vec<u8>,
) -> anyhow::Result<Vec<u8>> {
    let mut parts = Parts::default();
    let soft = parts.add("bulkhead:crypto-soft", crypto_soft)?;
    let decrypt = parts.add("bulkhead:decrypt-component", decrypt)?;
    for interface in CRYPTO {
        parts.connect(interface, soft, decrypt)?;
    }
    let command = parts.add("bulkhead:offline", command)?;
    parts.connect(DECRYPTOR, decrypt, command)?;

    let run = parts.exported("bulkhead:offline", RUN);
    parts.export(&run, command)?;
    parts.export(DECRYPTOR, decrypt)?;
    parts.export(ABOUT, decrypt)?;
    Ok(parts.graph.encode(EncodeOptions::default())?)
}

#[derive(Default)]
struct Parts {
    graph: CompositionGraph,
}

impl Parts {
    fn add(&mut self, name: &str, wasm: Vec<u8>) -> anyhow::Result<NodeId> {
        let package = Package::from_bytes(name, None, wasm, self.graph.types_mut())?;
        let package = self.graph.register_package(package)?;
        Ok(self.graph.instantiate(package))
    }

    fn connect(&mut self, interface: &str, from: NodeId, to: NodeId) -> anyhow::Result<()> {
        let exported = self.graph.alias_instance_export(from, interface)?;
        Ok(self
            .graph
            .set_instantiation_argument(to, interface, exported)?)
    }

    fn export(&mut self, interface: &str, from: NodeId) -> anyhow::Result<()> {
        let exported = self.graph.alias_instance_export(from, interface)?;
        Ok(self.graph.export(exported, interface)?)
    }

    /// Returns the full name of the export of the package `name` that has this prefix.
    fn exported(&self, name: &str, prefix: &str) -> String {
        let (_, package) = self
            .graph
            .get_package_by_name(name, None)
            .expect("the package was added");
        self.graph.types()[package.ty()]
            .exports
            .keys()
            .find(|export| export.starts_with(prefix))
            .expect("a command should export wasi:cli/run")
            .clone()
    }
}
