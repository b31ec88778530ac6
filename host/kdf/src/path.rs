//! The implementations that can hash a stream.

/// An implementation of the hashes. The setting `auto` lets the cost model choose one for each turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// One stream after the other, by `RustCrypto`, which uses the processor's SHA instructions if it has
    /// them. This path is available on all processors.
    Plain,
    /// Up to two interleaved streams, with SHA-NI and schedules that are computed once.
    ShaNi,
    /// Sixteen streams (SHA-512: eight) in vectors of 512 bits.
    Avx512,
    /// Eight streams (SHA-512: four) in vectors of 256 bits.
    Avx2,
}

impl Path {
    /// All paths.
    pub const ALL: [Self; 4] = [Self::Plain, Self::ShaNi, Self::Avx512, Self::Avx2];

    /// Returns the name of the path in settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::ShaNi => "sha-ni",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
        }
    }

    /// Returns whether streams are hashed in the lanes of vectors.
    pub(crate) fn is_wide(self) -> bool {
        matches!(self, Self::Avx512 | Self::Avx2)
    }

    /// Returns whether this processor supports the path.
    pub fn is_available(self) -> bool {
        let processor = crate::kernel::Processor::this();
        match self {
            Self::Plain => true,
            Self::ShaNi => processor.sha_ni.is_some(),
            Self::Avx512 => processor.avx512.is_some(),
            Self::Avx2 => processor.avx2.is_some(),
        }
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
