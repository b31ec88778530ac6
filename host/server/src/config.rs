//! Settings that do not belong to a capability, and what all settings are made of.

pub(crate) mod components;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod secrets;
pub(crate) mod units;

/// On or off.
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
