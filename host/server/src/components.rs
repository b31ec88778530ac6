//! The active components: the built-in ones, or files from the operator that replace them while the server
//! runs.

mod active_component;
pub(crate) mod folder;
pub(crate) mod metrics;
pub(crate) mod pins;
mod watcher;

use crate::config::components::ComponentSettings;
use bulkhead_http::setting;

pub(crate) use active_component::{ActiveComponent, ComponentSource, HotSwap, Make};
pub(crate) use folder::FolderState;
pub(crate) use watcher::{Watch, watch};

/// The arguments of the hidden command that compiles a component in a process of its own.
pub(crate) const COMPILE: [&str; 2] = ["component", "compile"];

/// Returns the current errors of the folder and the list of pins, for `check-config`.
pub(crate) fn problems(settings: &ComponentSettings) -> Vec<String> {
    let folder = settings.components_dir.as_deref();
    let folder = folder.and_then(|folder| FolderState::of(folder, &[]).failing);
    let folder = folder.map(|error| {
        let setting = setting!(ComponentSettings, components_dir);
        format!("cannot read the folder of {setting}: {error}. Create it, or set another path")
    });
    let pins = settings.components_pin.as_deref();
    let pins = pins.and_then(|list| pins::read(list).err());
    let pins = pins.map(|error| error.to_string());
    folder.into_iter().chain(pins).collect()
}
