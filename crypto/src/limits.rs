//! Limits on the cost of key derivation.

use crate::{Argon2id, S2k};

/// The cost of key derivation that one component instance may cause. Callers check it before the work begins.
#[derive(Debug, Clone, Copy)]
pub struct KdfLimits {
    /// Maximum number of bytes hashed by S2K, over all calls and passes.
    pub s2k_bytes: u64,
    /// Maximum memory of one Argon2 call, in KiB.
    pub argon2_memory_kib: u64,
    /// Maximum number of passes of one Argon2 call.
    pub argon2_passes: u64,
}

/// Names one of [`KdfLimits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of KdfLimits document them")]
pub enum KdfLimit {
    S2kBytes,
    Argon2MemoryKib,
    Argon2Passes,
}

/// A derivation would exceed a limit. Nothing was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key derivation needs {requested}, but the maximum is {allowed} ({limit:?})")]
pub struct OverLimit {
    /// The limit.
    pub limit: KdfLimit,
    /// The cost that was requested, in the limit's unit. For [`KdfLimit::S2kBytes`] this includes earlier calls.
    pub requested: u64,
    /// The maximum, in the limit's unit.
    pub allowed: u64,
}

impl KdfLimits {
    /// Allows no key derivation.
    pub const ZERO: Self = Self {
        s2k_bytes: 0,
        argon2_memory_kib: 0,
        argon2_passes: 0,
    };

    /// Returns the number of bytes hashed in total once `work` is done, if `spent` bytes were hashed before it.
    ///
    /// # Errors
    /// [`OverLimit`] if that is more than [`Self::s2k_bytes`].
    pub fn charge_s2k(&self, spent: u64, work: &S2k<'_>) -> Result<u64, OverLimit> {
        let requested = spent.saturating_add(work.bytes_hashed());
        within(KdfLimit::S2kBytes, requested, self.s2k_bytes).map(|()| requested)
    }

    /// Checks the memory and the passes of `work`.
    ///
    /// # Errors
    /// [`OverLimit`] if either exceeds its limit.
    pub fn check_argon2id(&self, work: &Argon2id) -> Result<(), OverLimit> {
        let (memory, passes) = (work.memory_kib.into(), work.passes.into());
        within(KdfLimit::Argon2MemoryKib, memory, self.argon2_memory_kib)?;
        within(KdfLimit::Argon2Passes, passes, self.argon2_passes)
    }
}

fn within(limit: KdfLimit, requested: u64, allowed: u64) -> Result<(), OverLimit> {
    if requested <= allowed {
        return Ok(());
    }
    Err(OverLimit {
        limit,
        requested,
        allowed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hash;

    #[test]
    fn s2k_bytes_are_summed_over_all_derivations() {
        let limits = KdfLimits {
            s2k_bytes: 2500,
            ..KdfLimits::ZERO
        };
        let work = S2k::new(Hash::Sha1, b"saltsalt", b"passphrase", 1000, 16).expect("valid");
        let once = limits
            .charge_s2k(0, &work)
            .expect("work should be within the limit");
        let twice = limits
            .charge_s2k(once, &work)
            .expect("work should be within the limit");
        assert_eq!((once, twice), (1000, 2000));
        let over = limits
            .charge_s2k(twice, &work)
            .expect_err("3000 bytes should exceed the limit");
        assert_eq!((over.requested, over.allowed), (3000, 2500));
    }

    #[test]
    fn argon2_memory_and_passes_have_separate_limits() {
        let limits = KdfLimits {
            argon2_memory_kib: 64,
            argon2_passes: 3,
            ..KdfLimits::ZERO
        };
        let over = |memory_kib, passes| {
            let work = Argon2id {
                passes,
                lanes: 1,
                memory_kib,
            };
            limits.check_argon2id(&work).err().map(|over| over.limit)
        };
        assert_eq!(over(64, 3), None);
        assert_eq!(over(65, 3), Some(KdfLimit::Argon2MemoryKib));
        assert_eq!(over(64, 4), Some(KdfLimit::Argon2Passes));
    }
}
