//! The components in force: those that ship with the binary, or files of the operator's that replace them
//! while requests are answered.

mod active_component;
pub(crate) mod folder;
pub(crate) mod metrics;
pub(crate) mod pins;
mod watcher;

use crate::config::components::ComponentSettings;
use bulkhead_http::setting;

pub(crate) use active_component::{ActiveComponent, Admitted, ComponentSource, HotSwap};
pub(crate) use folder::FolderState;
pub(crate) use watcher::{Watch, watch};

/// The words of the hidden command that compiles a component, in a process of its own.
pub(crate) const COMPILE: [&str; 2] = ["component", "compile"];

/// What is wrong with the folder and the list as they are now, for `check-config`.
pub(crate) fn problems(settings: &ComponentSettings) -> Vec<String> {
    let folder = settings.components_dir.as_deref();
    let folder = folder.and_then(|folder| FolderState::of(folder, &[]).failing);
    let folder = folder.map(|error| {
        let setting = setting!(ComponentSettings, components_dir);
        format!("the folder of {setting} cannot be read: {error}")
    });
    let pins = settings.components_pin.as_deref();
    let pins = pins.and_then(|list| pins::read(list).err());
    let pins = pins.map(|error| error.to_string());
    folder.into_iter().chain(pins).collect()
}
