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

use crate::config::ComponentSettings;
pub(crate) use folder::FolderState;
pub(crate) use slot::{ComponentSource, Exchangeable, Slot, SlotContext};
pub(crate) use upkeep::{Watch, watch};

/// What is wrong with the folder and the list as they are now, for `check-config`.
pub(crate) fn problems(settings: &ComponentSettings) -> Vec<String> {
    let folder = settings.components_dir.as_deref();
    let folder = folder.and_then(|folder| FolderState::of(folder, &[]).failing);
    let folder = folder.map(|error| {
        format!("the folder of --components-dir (BULKHEAD_COMPONENTS_DIR) cannot be read: {error}")
    });
    let pins = settings.components_pin.as_deref();
    let pins = pins.and_then(|list| pins::read(list).err());
    folder.into_iter().chain(pins).collect()
}
