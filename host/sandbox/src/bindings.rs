//! Rust types for the decrypt world and the crypto interfaces that it imports.

wasmtime::component::bindgen!({
    path: ["../../wit/component", "../../wit/crypto", "../../wit/decrypt"],
    world: "bulkhead:decrypt/decrypt",
});
