//! The signing component: the decisions of the relay, without I/O, clock or randomness.
//!
//! `upstream` builds the requests to the signing API and interprets the responses, `webhook` does the same for
//! notifications, `verifier` checks RSA signatures, `signature` decodes them, `backoff` computes delays, and `failure`
//! describes failed requests.

mod backoff;
mod component;
mod failure;
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
