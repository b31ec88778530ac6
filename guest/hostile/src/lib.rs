//! A component of the decrypt world that misbehaves on demand: the message says how. The tests of
//! the sandbox run it beside healthy ones.
//!
//! Natively there is nothing here.

#[cfg(target_arch = "wasm32")]
mod component;
