//! The decrypt world, with the crypto interfaces that it imports, as Rust types.

wasmtime::component::bindgen!({
    path: ["../../wit/component", "../../wit/crypto", "../../wit/decrypt"],
    world: "bulkhead:decrypt/decrypt",
});
