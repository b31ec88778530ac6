//! The JSON of `POST /decryptMessage`: what is asked, what is answered, and what is said where a message
//! is not opened.
//!
//! The server speaks it natively, the command for offline use in Wasm (`guest/offline`): here is what
//! makes their answers the same. Nothing here does I/O.

mod fields;
mod limit;
mod message;
mod problem;
mod size;
mod wiped;

pub use fields::{Field, Names, parse_fields};
pub use limit::{Excess, Limit};
pub use message::{Request, decrypted_response};
pub use problem::Problem;
pub use size::parse_size;
pub use wiped::Wiped;
