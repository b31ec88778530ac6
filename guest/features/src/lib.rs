//! Empty, and never compiled for a guest. Its manifest names what wit-bindgen's macro is made of, with the features
//! that some guest asks for.
//!
//! Guests are built one by one, and cargo gives a dependency the features that the selected package asks for. Without
//! this crate the macro is compiled once for each set of features. Guests name this crate as a build dependency and
//! have no build script, so that cargo takes it into account and does not build it.
