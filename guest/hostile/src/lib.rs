//! A component of the decrypt world that misbehaves in the way that the message names. The tests of the sandbox run it
//! beside healthy components.
//!
//! The native crate is empty.

#[cfg(target_arch = "wasm32")]
mod component;
