//! The token component: the HMAC of a request body under a shared secret.
//!
//! A call takes microseconds, so the component is built to start fast: it has no standard library, no imports, and a heap
//! inside its initial memory (`heap`), which most calls do not have to grow.

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

/// Traps. A message could not be output anywhere.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
