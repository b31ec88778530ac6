//! The signing component: the judgement of the relay, without I/O, clock or randomness.
//!
//! `upstream` says what to ask the signing API and what its answers mean, `webhook` builds
//! notifications and reads what receivers answer, `verifier` checks RSA signatures, `backoff` is
//! how long to wait after each.

mod backoff;
mod component;
mod signature;
mod upstream;
mod verifier;
mod webhook;

#[expect(clippy::pedantic, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/component", "../../wit/signing"],
        world: "bulkhead:signing/signing",
        generate_all,
        export_macro_name: "export",
    });
}
