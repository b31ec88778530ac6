//! The limits on one message, by the names under which operators raise them.

use crate::size::parse_size;

/// A limit that a message can run into; see `wit/decrypt` for what each counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract in wit/ documents them")]
pub enum Limit {
    PlaintextBytes,
    CompressionLayers,
    CompressionRatio,
    SessionKeyPackets,
    ArmorHeaderBytes,
    S2kBytes,
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
struct Details {
    description: &'static str,
    flag: &'static str,
    variable: &'static str,
    default: &'static str,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PlaintextBytes,
        Self::CompressionLayers,
        Self::CompressionRatio,
        Self::SessionKeyPackets,
        Self::ArmorHeaderBytes,
        Self::S2kBytes,
        Self::Argon2MemoryKib,
        Self::Argon2Passes,
    ];

    const fn details(self) -> Details {
        let (description, flag, variable, default) = match self {
            Self::PlaintextBytes => (
                "Size of the plaintext",
                "--plaintext-max",
                "BULKHEAD_PLAINTEXT_MAX",
                "32MiB",
            ),
            Self::CompressionLayers => (
                "Layers of compression",
                "--compression-layers-max",
                "BULKHEAD_COMPRESSION_LAYERS_MAX",
                "4",
            ),
            Self::CompressionRatio => (
                "Ratio of compression",
                "--compression-ratio-max",
                "BULKHEAD_COMPRESSION_RATIO_MAX",
                "4096",
            ),
            Self::SessionKeyPackets => (
                "Number of session-key packets",
                "--session-keys-max",
                "BULKHEAD_SESSION_KEYS_MAX",
                "16",
            ),
            Self::ArmorHeaderBytes => (
                "Size of the armor headers",
                "--armor-headers-max",
                "BULKHEAD_ARMOR_HEADERS_MAX",
                "64KiB",
            ),
            Self::S2kBytes => (
                "Bytes hashed for key derivation",
                "--s2k-octets-max",
                "BULKHEAD_S2K_OCTETS_MAX",
                "2GiB",
            ),
            Self::Argon2MemoryKib => (
                "Memory for key derivation (Argon2)",
                "--argon2-memory-max",
                "BULKHEAD_ARGON2_MEMORY_MAX",
                "64MiB",
            ),
            Self::Argon2Passes => (
                "Passes of key derivation (Argon2)",
                "--argon2-passes-max",
                "BULKHEAD_ARGON2_PASSES_MAX",
                "10",
            ),
        };
        Details {
            description,
            flag,
            variable,
            default,
        }
    }

    /// What it limits, in words.
    pub const fn description(self) -> &'static str {
        self.details().description
    }

    /// The server's flag.
    pub const fn flag(self) -> &'static str {
        self.details().flag
    }

    /// The variable, for the server and offline.
    pub const fn variable(self) -> &'static str {
        self.details().variable
    }

    /// What it is where nothing is set, as operators write it.
    pub const fn default(self) -> &'static str {
        self.details().default
    }

    /// What is allowed, in the limit's unit, where its variable is set to `given`. The error names the
    /// variable and says how to write a value.
    pub fn allowed(self, given: Option<&str>) -> Result<u64, String> {
        let text = given.unwrap_or_else(|| self.default());
        match self {
            Self::PlaintextBytes | Self::ArmorHeaderBytes | Self::S2kBytes => parse_size(text),
            Self::Argon2MemoryKib => parse_size(text).map(|bytes| bytes / 1024),
            _ => text.parse().map_err(|_| "give a whole number".into()),
        }
        .map_err(|error| format!("{}: {error}", self.variable()))
    }

    /// An amount with the limit's unit.
    pub(crate) fn amount(self, amount: u64) -> String {
        match self {
            Self::PlaintextBytes | Self::ArmorHeaderBytes | Self::S2kBytes => {
                format!("{amount} bytes")
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
        assert_eq!(Limit::S2kBytes.allowed(Some("1KiB")), Ok(1024));
        assert_eq!(Limit::Argon2Passes.allowed(Some("3")), Ok(3));
        let wrong = Limit::Argon2Passes
            .allowed(Some("3MiB"))
            .expect_err("no count");
        assert!(wrong.contains("BULKHEAD_ARGON2_PASSES_MAX"), "{wrong}");
    }
}
