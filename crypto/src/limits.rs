//! What key derivation may cost.

use crate::{Argon2id, S2k};

/// What one instance may spend on key derivation, asked before any of it is done.
#[derive(Debug, Clone, Copy)]
pub struct KdfLimits {
    /// Bytes hashed by S2K, over all calls and passes.
    pub s2k_bytes: u64,
    /// Memory of one Argon2 call, in KiB.
    pub argon2_memory_kib: u64,
    /// Passes of one Argon2 call.
    pub argon2_passes: u64,
}

/// One of [`KdfLimits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of KdfLimits document them")]
pub enum KdfLimit {
    S2kBytes,
    Argon2MemoryKib,
    Argon2Passes,
}

/// More than a limit allows, in the limit's unit. Nothing was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct OverLimit {
    pub limit: KdfLimit,
    pub asked: u64,
    pub allowed: u64,
}

impl KdfLimits {
    /// None at all.
    pub const ZERO: Self = Self {
        s2k_bytes: 0,
        argon2_memory_kib: 0,
        argon2_passes: 0,
    };

    /// What is spent after `work`, in bytes, where `spent` were before.
    pub fn charge_s2k(&self, spent: u64, work: &S2k<'_>) -> Result<u64, OverLimit> {
        let asked = spent.saturating_add(work.bytes_hashed());
        within(KdfLimit::S2kBytes, asked, self.s2k_bytes).map(|()| asked)
    }

    /// Whether `work` may be done.
    pub fn check_argon2id(&self, work: &Argon2id) -> Result<(), OverLimit> {
        let (memory, passes) = (work.memory_kib.into(), work.passes.into());
        within(KdfLimit::Argon2MemoryKib, memory, self.argon2_memory_kib)?;
        within(KdfLimit::Argon2Passes, passes, self.argon2_passes)
    }
}

fn within(limit: KdfLimit, asked: u64, allowed: u64) -> Result<(), OverLimit> {
    if asked <= allowed {
        return Ok(());
    }
    Err(OverLimit {
        limit,
        asked,
        allowed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hash;

    #[test]
    fn bytes_are_counted_over_all_derivations() {
        let limits = KdfLimits {
            s2k_bytes: 2500,
            ..KdfLimits::ZERO
        };
        let work = S2k::new(Hash::Sha1, b"saltsalt", b"passphrase", 1000, 16).expect("valid");
        let once = limits.charge_s2k(0, &work).expect("within");
        let twice = limits.charge_s2k(once, &work).expect("within");
        assert_eq!((once, twice), (1000, 2000));
        let over = limits.charge_s2k(twice, &work).expect_err("3000 bytes");
        assert_eq!((over.asked, over.allowed), (3000, 2500));
    }

    #[test]
    fn memory_and_passes_of_argon2_are_limits_of_their_own() {
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
