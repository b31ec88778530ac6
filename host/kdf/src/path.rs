//! The ways in which a stream can be hashed.

/// A way to hash. `auto` in settings is none of them: the cost model chooses then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// One stream after the other, by `RustCrypto`: with the processor's SHA instructions where it
    /// has them. The only one on processors that have none of what the others need.
    Plain,
    /// Up to two streams interleaved, with SHA-NI and schedules computed once.
    ShaNi,
    /// Sixteen streams (SHA-512: eight) in vectors of 512 bits.
    Avx512,
    /// Eight streams (SHA-512: four) in vectors of 256 bits.
    Avx2,
}

impl Path {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::ShaNi, Self::Avx512, Self::Avx2];

    /// As it is called in settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::ShaNi => "sha-ni",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
        }
    }

    /// Whether streams go in the lanes of vectors.
    pub(crate) fn is_wide(self) -> bool {
        matches!(self, Self::Avx512 | Self::Avx2)
    }

    /// Whether this processor has what it takes.
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
