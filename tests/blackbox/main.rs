//! Black-box tests: the real binary, real sockets, messages made by others.

mod bombs;
mod decrypt;
mod hostile;
mod http;
mod messages;
mod metrics;
mod passphrases;
mod process;
mod token;
