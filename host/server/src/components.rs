//! The components in force: what ships with the binary, or files of the operator's that replace it
//! while requests are answered.

mod folder;
mod pins;
pub(crate) mod show;
mod slot;
mod upkeep;

pub(crate) use folder::FolderState;
pub(crate) use slot::{Code, Exchangeable, Places, Slot};
pub(crate) use upkeep::{Watch, watch};
