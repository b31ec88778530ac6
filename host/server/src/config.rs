//! Settings that do not belong to a capability, and the value types of all settings.

pub(crate) mod components;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod secrets;
pub(crate) mod units;

/// A setting that is `on` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Switch {
    pub(crate) fn is_on(self) -> bool {
        self == Self::On
    }
}
