//! The components in force: what ships with the binary, or files of the operator's that replace it
//! while requests are answered.

mod check;
pub(crate) mod command;
mod export;
mod folder;
mod list;
mod pins;
mod slot;
mod upkeep;

pub(crate) use folder::FolderState;
pub(crate) use slot::{Code, Exchangeable, Places, Slot};
pub(crate) use upkeep::{Watch, watch};
