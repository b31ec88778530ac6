//! The limits on one message, by the names under which operators raise them.

use crate::setting::Setting;
use crate::size::octets;

/// A limit that a message can run into; see `wit/decrypt` for what each counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract in wit/ documents them")]
pub enum Limit {
    PlaintextOctets,
    CompressionLayers,
    CompressionRatio,
    SessionKeyPackets,
    ArmorHeaderOctets,
    S2kOctets,
    Argon2MemoryKib,
    Argon2Passes,
}

/// Which limit, what was asked for, and what is allowed, in the limit's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct Excess {
    pub limit: Limit,
    pub asked: u64,
    pub allowed: u64,
}

/// What a limit is called, where it is set, and what it is by default.
struct Named {
    what: &'static str,
    setting: Setting,
    default: &'static str,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PlaintextOctets,
        Self::CompressionLayers,
        Self::CompressionRatio,
        Self::SessionKeyPackets,
        Self::ArmorHeaderOctets,
        Self::S2kOctets,
        Self::Argon2MemoryKib,
        Self::Argon2Passes,
    ];

    const fn named(self) -> Named {
        let (what, setting, default) = match self {
            Self::PlaintextOctets => (
                "Size of the plaintext",
                Setting::new("plaintext_max"),
                "32MiB",
            ),
            Self::CompressionLayers => (
                "Layers of compression",
                Setting::new("compression_layers_max"),
                "4",
            ),
            Self::CompressionRatio => (
                "Ratio of compression",
                Setting::new("compression_ratio_max"),
                "4096",
            ),
            Self::SessionKeyPackets => (
                "Number of session-key packets",
                Setting::new("session_keys_max"),
                "16",
            ),
            Self::ArmorHeaderOctets => (
                "Size of the armor headers",
                Setting::new("armor_headers_max"),
                "64KiB",
            ),
            Self::S2kOctets => (
                "Octets hashed for key derivation",
                Setting::new("s2k_octets_max"),
                "2GiB",
            ),
            Self::Argon2MemoryKib => (
                "Memory for key derivation (Argon2)",
                Setting::new("argon2_memory_max"),
                "64MiB",
            ),
            Self::Argon2Passes => (
                "Passes of key derivation (Argon2)",
                Setting::new("argon2_passes_max"),
                "10",
            ),
        };
        Named {
            what,
            setting,
            default,
        }
    }

    /// What it limits, in words.
    pub const fn what(self) -> &'static str {
        self.named().what
    }

    /// The setting that raises it. Offline, its variable does.
    pub const fn setting(self) -> Setting {
        self.named().setting
    }

    /// That setting's variable, for the server and offline.
    pub fn variable(self) -> String {
        self.setting().variable()
    }

    /// What it is where nothing is set, as operators write it.
    pub const fn default(self) -> &'static str {
        self.named().default
    }

    /// What is allowed, in the limit's unit, where its variable is set to `given`. The error names the
    /// variable and says how to write a value.
    pub fn allowed(self, given: Option<&str>) -> Result<u64, String> {
        let text = given.unwrap_or_else(|| self.default());
        match self {
            Self::PlaintextOctets | Self::ArmorHeaderOctets | Self::S2kOctets => octets(text),
            Self::Argon2MemoryKib => octets(text).map(|octets| octets / 1024),
            _ => text.parse().map_err(|_| "give a whole number".into()),
        }
        .map_err(|error| format!("{}: {error}", self.variable()))
    }

    /// An amount with the limit's unit.
    pub(crate) fn amount(self, amount: u64) -> String {
        match self {
            Self::PlaintextOctets | Self::ArmorHeaderOctets | Self::S2kOctets => {
                format!("{amount} octets")
            }
            Self::Argon2MemoryKib => format!("{amount} KiB"),
            Self::CompressionRatio => format!("{amount}:1"),
            Self::CompressionLayers | Self::SessionKeyPackets | Self::Argon2Passes => {
                amount.to_string()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_its_default_unless_its_variable_is_set() {
        for limit in Limit::ALL {
            assert!(limit.allowed(None).expect("a default") > 0, "{limit:?}");
        }
        assert_eq!(Limit::Argon2MemoryKib.allowed(None), Ok(64 << 10));
        assert_eq!(Limit::S2kOctets.allowed(Some("1KiB")), Ok(1024));
        assert_eq!(Limit::Argon2Passes.allowed(Some("3")), Ok(3));
        let wrong = Limit::Argon2Passes
            .allowed(Some("3MiB"))
            .expect_err("no count");
        assert!(wrong.contains("BULKHEAD_ARGON2_PASSES_MAX"), "{wrong}");
    }
}
