//! The limits on one message, with the names of the settings that raise them.

use crate::setting::Setting;
use crate::size::{InvalidSize, parse_size};

/// Defines the limits: what each one counts, for error texts; its setting; and its default, in the form of a value of the
/// flag.
macro_rules! limits {
    ($($limit:ident $description:literal $setting:literal $default:literal,)+) => {
        /// A limit that a message can exceed. `wit/decrypt` documents what each one counts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the contract in wit/ documents them")]
        pub enum Limit {
            $($limit,)+
        }

        impl Limit {
            /// All limits.
            pub const ALL: [Self; [$($default),+].len()] = [$(Self::$limit),+];

            /// Returns what the limit counts, for error texts.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$limit => $description,)+
                }
            }

            /// Returns the setting of the limit. The offline command reads its variable.
            pub const fn setting(self) -> Setting {
                match self {
                    $(Self::$limit => Setting::new($setting),)+
                }
            }

            /// Returns the default, in the form of a value of the flag.
            pub const fn default(self) -> &'static str {
                match self {
                    $(Self::$limit => $default,)+
                }
            }
        }
    };
}

limits! {
    PlaintextBytes "Size of the plaintext" "plaintext_max" "32MiB",
    CompressionLayers "Number of compression layers" "compression_layers_max" "4",
    CompressionRatio "Compression ratio" "compression_ratio_max" "4096",
    SessionKeyPackets "Number of session-key packets" "session_keys_max" "16",
    ArmorHeaderBytes "Size of the armor headers" "armor_headers_max" "64KiB",
    S2kBytes "Number of bytes hashed for key derivation" "s2k_bytes_max" "2GiB",
    Argon2MemoryKib "Memory for key derivation (Argon2)" "argon2_memory_max" "64MiB",
    Argon2Passes "Number of passes for key derivation (Argon2)" "argon2_passes_max" "10",
}

/// A message exceeds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// The limit.
    pub limit: Limit,
    /// The amount that the message needs, as far as known, in the limit's unit.
    pub requested: u64,
    /// The maximum, in the limit's unit.
    pub allowed: u64,
}

/// The variable of a limit has a value that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum InvalidLimit {
    #[error("{}: {source}", .setting.variable())]
    Size {
        setting: Setting,
        source: InvalidSize,
    },
    #[error("{}: give a whole number", .setting.variable())]
    Count { setting: Setting },
    #[error("{}: give a value below 2^32", .setting.variable())]
    TooLarge { setting: Setting },
}

impl Limit {
    /// Returns the maximum in the limit's unit if its variable has the value `given`, or the default if it is not set.
    ///
    /// # Errors
    /// [`InvalidLimit`] if the value cannot be parsed. The text names the variable and says how to write a value.
    pub fn allowed(self, given: Option<&str>) -> Result<u64, InvalidLimit> {
        let text = given.unwrap_or_else(|| self.default());
        let setting = self.setting();
        let size = || parse_size(text).map_err(|source| InvalidLimit::Size { setting, source });
        match self {
            Self::PlaintextBytes | Self::ArmorHeaderBytes | Self::S2kBytes => size(),
            Self::Argon2MemoryKib => Ok(size()? / 1024),
            Self::CompressionLayers
            | Self::CompressionRatio
            | Self::SessionKeyPackets
            | Self::Argon2Passes => text.parse().map_err(|_| InvalidLimit::Count { setting }),
        }
    }

    /// Formats an amount with the limit's unit.
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
    fn limit_has_its_default_unless_its_variable_is_set() {
        for limit in Limit::ALL {
            assert!(
                limit.allowed(None).expect("the default should be valid") > 0,
                "{limit:?}"
            );
        }
        assert_eq!(Limit::Argon2MemoryKib.allowed(None), Ok(64 << 10));
        assert_eq!(Limit::S2kBytes.allowed(Some("1KiB")), Ok(1024));
        assert_eq!(Limit::Argon2Passes.allowed(Some("3")), Ok(3));
        let wrong = Limit::Argon2Passes
            .allowed(Some("3MiB"))
            .expect_err("a size is not a count");
        assert!(
            wrong.to_string().contains("BULKHEAD_ARGON2_PASSES_MAX"),
            "{wrong}"
        );
    }
}
