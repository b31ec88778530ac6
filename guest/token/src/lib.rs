//! The token component: the HMAC of a request body under a shared secret.
//!
//! It is made to start fast, since it runs for microseconds: no standard library, no imports, and
//! a heap inside the memory it starts with (`heap`), so that most calls never grow it.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod component;
#[cfg(target_arch = "wasm32")]
mod heap;
mod mac;

#[expect(clippy::pedantic, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/component", "../../wit/token"],
        world: "bulkhead:token/token",
        generate_all,
        export_macro_name: "export",
    });
}

/// Nobody could read a message; the trap tells enough.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
