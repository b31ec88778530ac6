//! Black-box tests: the real binary, real sockets, and messages of other implementations.

mod access;
mod audit;
mod bombs;
mod clients;
mod components;
mod decrypt;
mod description;
mod errors;
mod help;
mod hostile;
mod http;
mod key_derivation;
mod load;
mod logging;
mod messages;
mod metrics;
mod mocks;
mod offline;
mod operations;
mod passphrases;
mod pasted;
mod process;
mod relay;
mod token;
mod wit;
