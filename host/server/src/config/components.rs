//! Settings of components that replace those in the binary.

use super::Switch;
use super::units::{GIB, MIB, TIB, duration_above_zero, durations, sizes};
use bulkhead_http::{ByteSize, setting};
use bulkhead_sandbox::CompileLimits;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Components that take the place of those that ship with the binary: `decrypt.wasm`, `token.wasm`
/// and `signing.wasm` in a folder that is watched.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Components")]
pub(crate) struct ComponentSettings {
    /// Folder with decrypt.wasm, token.wasm or signing.wasm, each taking the place of the component
    /// in the binary, at once and without a restart, if it passes its checks. Move files there, or
    /// remove them, at any time. Not watched unless set.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) components_dir: Option<PathBuf>,
    /// List of the only files to be taken from there, by sha256, as sha256sum writes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) components_pin: Option<PathBuf>,
    /// Time between two looks at the folder, for file systems that do not tell of changes.
    #[arg(long, default_value = "2s", value_parser = duration_above_zero)]
    pub(crate) components_scan: Duration,
    /// Octets of one such file.
    #[arg(long, default_value = "64MiB", value_parser = sizes(1, GIB))]
    pub(crate) component_max: ByteSize,
    /// Memory for compiling one, which is done in a process of its own.
    #[arg(long, default_value = "2GiB", value_parser = sizes(256 * MIB, TIB))]
    pub(crate) component_compile_memory: ByteSize,
    /// Processor (CPU) time for compiling one.
    #[arg(
        long,
        default_value = "2m",
        value_parser = durations(Duration::from_secs(1), Duration::from_hours(1))
    )]
    pub(crate) component_compile_time: Duration,
    /// The header `Bulkhead-Component` in answers: which component made them, with version and sha256.
    #[arg(long, value_enum, default_value = "off", value_name = "SWITCH")]
    pub(crate) component_header: Switch,
}

impl ComponentSettings {
    /// What compiling one may take.
    pub(crate) fn compile_limits(&self) -> CompileLimits {
        CompileLimits {
            memory_octets: self.component_compile_memory.bytes(),
            time: self.component_compile_time,
        }
    }

    /// What is wrong with the settings together.
    pub(crate) fn contradiction(&self) -> Option<String> {
        (self.components_pin.is_some() && self.components_dir.is_none()).then(|| {
            format!(
                "{} says which files may be taken from {}, which is not set",
                setting!(Self, components_pin),
                setting!(Self, components_dir)
            )
        })
    }
}
