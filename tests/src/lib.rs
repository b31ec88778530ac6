//! The harness of the black-box tests: the real binary as a process, HTTP over real sockets.

pub mod fixtures;
pub mod http;
pub mod server;
