//! Empty. Its manifest names the dependencies of wasmtime with the features that some package of the workspace asks
//! for.
//!
//! Cargo gives a dependency the features that the *selected* packages ask for. Without this crate, building one
//! package and building all of them differ in small features of small crates, and wasmtime, which depends on those, is
//! compiled again. `host/sandbox` depends on this crate, so that every selection with wasmtime in it has the same
//! features. The pattern and the name are those of `cargo-hakari`.
