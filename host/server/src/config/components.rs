//! Settings of components that replace the built-in components.

use super::Switch;
use super::units::{GIB, MIB, TIB, duration_above_zero, durations, sizes};
use bulkhead_http::{ByteSize, setting};
use bulkhead_sandbox::CompileLimits;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the watched folder, whose `decrypt.wasm`, `token.wasm` and `signing.wasm` replace the
/// built-in components.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Components")]
pub(crate) struct ComponentSettings {
    /// Folder with components that replace the built-in ones: decrypt.wasm, token.wasm or signing.wasm.
    /// Files can be moved there or removed at any time. A file that passes its checks becomes active
    /// without a restart. If this is not set, no folder is watched.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) components_dir: Option<PathBuf>,
    /// List of the only files that are accepted from that folder, by SHA-256, in the format of sha256sum.
    /// Other files are rejected.
    #[arg(long, value_name = "FILE")]
    pub(crate) components_pin: Option<PathBuf>,
    /// Interval between two scans of the folder. Scans find changes on file systems that do not report
    /// them.
    #[arg(long, default_value = "2s", value_parser = duration_above_zero)]
    pub(crate) components_scan: Duration,
    /// Maximum size of one component file. A larger file is rejected.
    #[arg(long, default_value = "64MiB", value_parser = sizes(1, GIB))]
    pub(crate) component_max: ByteSize,
    /// Maximum memory for compiling a component, in a separate process. If it is exceeded, the component
    /// is rejected.
    #[arg(long, default_value = "2GiB", value_parser = sizes(256 * MIB, TIB))]
    pub(crate) component_compile_memory: ByteSize,
    /// Maximum processor time for compiling a component. If it is exceeded, the component is rejected.
    #[arg(
        long,
        default_value = "2m",
        value_parser = durations(Duration::from_secs(1), Duration::from_hours(1))
    )]
    pub(crate) component_compile_time: Duration,
    /// If on, responses have a header `Bulkhead-Component`, which names the component that made them, its
    /// version and its SHA-256.
    #[arg(long, value_enum, default_value = "off", value_name = "SWITCH")]
    pub(crate) component_header: Switch,
}

impl ComponentSettings {
    /// Returns the limits on compiling one component.
    pub(crate) fn compile_limits(&self) -> CompileLimits {
        CompileLimits {
            memory_bytes: self.component_compile_memory.bytes(),
            time: self.component_compile_time,
        }
    }

    /// Returns an error text if the settings contradict each other.
    pub(crate) fn contradiction(&self) -> Option<String> {
        (self.components_pin.is_some() && self.components_dir.is_none()).then(|| {
            format!(
                "{} lists the files that are accepted from {}, which is not set. Set both or neither",
                setting!(Self, components_pin),
                setting!(Self, components_dir)
            )
        })
    }
}
