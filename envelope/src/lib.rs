//! The JSON of `POST /decryptMessage`: what is asked, what is answered, and what is said where a message
//! is not opened.
//!
//! The server speaks it natively, the command for offline use in Wasm (`guest/offline`): here is what
//! makes their answers the same. Nothing here does I/O.

mod fields;
mod limit;
mod message;
mod problem;
mod setting;
mod size;
mod wiped;

pub use fields::{Field, Names, parse};
pub use limit::{Excess, Limit};
pub use message::{Request, opened};
pub use problem::Problem;
pub use setting::Setting;
pub use size::{ByteSize, octets};
pub use wiped::Wiped;
