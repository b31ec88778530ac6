//! The JSON of `POST /decryptMessage`: requests, responses and problem documents.
//!
//! The server uses this crate natively, and the command for offline use (`guest/offline`) uses it in Wasm, so that both
//! return the same responses. The crate does no I/O.

mod fields;
mod limit;
mod message;
mod problem;
pub mod problem_kind;
mod rejection;
mod setting;
mod size;
mod wiped;

pub use fields::{Field, Names, parse_fields};
pub use limit::{Excess, InvalidLimit, Limit};
pub use message::{Request, decrypted_response};
pub use problem::{Evidence, Problem};
pub use problem_kind::ProblemKind;
pub use rejection::MessageRejection;
pub use setting::Setting;
pub use size::{ByteSize, InvalidSize, parse_size};
pub use wiped::Wiped;
