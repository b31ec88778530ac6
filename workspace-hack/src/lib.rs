//! Empty. Its manifest names the dependencies of wasmtime with the features that some package of the workspace asks
//! for.
//!
//! Cargo gives a dependency the features that the *selected* packages ask for. Without this crate, building one
//! package and building all of them differ in small features of small crates, and wasmtime, which depends on those, is
//! compiled again. `host/sandbox` names this crate as a build dependency and has no build script: cargo takes the
//! features into account in every selection with wasmtime in it, and never builds this crate for them. The pattern and
//! the name are those of `cargo-hakari`.
