//! Settings of components that replace those in the binary.

use super::units::{duration_within, octets_within};
use super::{GIB, MIB, Switch, TIB, duration_above_zero};
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
    #[arg(long, env = "BULKHEAD_COMPONENTS_DIR", value_name = "FOLDER")]
    pub(crate) components_dir: Option<PathBuf>,
    /// List of the only files to be taken from there, by sha256, as sha256sum writes it.
    #[arg(long, env = "BULKHEAD_COMPONENTS_PIN", value_name = "FILE")]
    pub(crate) components_pin: Option<PathBuf>,
    /// Time between two looks at the folder, for file systems that do not tell of changes.
    #[arg(long, env = "BULKHEAD_COMPONENTS_SCAN", default_value = "2s", value_parser = duration_above_zero, value_name = "TIME")]
    pub(crate) components_scan: Duration,
    /// Octets of one such file.
    #[arg(long = "component-max", env = "BULKHEAD_COMPONENT_MAX", default_value = "64MiB", value_parser = octets_within(1, GIB), value_name = "SIZE")]
    pub(crate) component_octets: usize,
    /// Memory for compiling one, which is done in a process of its own.
    #[arg(long = "component-compile-memory", env = "BULKHEAD_COMPONENT_COMPILE_MEMORY", default_value = "2GiB", value_parser = octets_within(256 * MIB, TIB), value_name = "SIZE")]
    pub(crate) compile_memory_octets: usize,
    /// Processor (CPU) time for compiling one.
    #[arg(long = "component-compile-time", env = "BULKHEAD_COMPONENT_COMPILE_TIME", default_value = "2m", value_parser = duration_within(Duration::from_secs(1), Duration::from_hours(1)), value_name = "TIME")]
    pub(crate) compile_time: Duration,
    /// The header `Bulkhead-Component` in answers: which component made them, with version and sha256.
    #[arg(
        long,
        env = "BULKHEAD_COMPONENT_HEADER",
        value_enum,
        default_value = "off",
        value_name = "SWITCH"
    )]
    pub(crate) component_header: Switch,
}

impl ComponentSettings {
    /// What compiling one may take.
    pub(crate) fn compile_limits(&self) -> CompileLimits {
        CompileLimits {
            memory_octets: self.compile_memory_octets as u64,
            time: self.compile_time,
        }
    }

    /// What no flag can judge alone.
    pub(super) fn contradiction(&self) -> Option<String> {
        (self.components_pin.is_some() && self.components_dir.is_none()).then(|| {
            "--components-pin (BULKHEAD_COMPONENTS_PIN) says which files may be taken from \
             --components-dir (BULKHEAD_COMPONENTS_DIR), which is not set"
                .into()
        })
    }
}
