//! Key derivation with Argon2id (RFC 9580 section 3.7.1.4, RFC 9106).

use crate::{Invalid, KEY_LEN_MAX};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

/// The cost parameters of one Argon2id derivation.
#[derive(Clone, Copy)]
pub struct Argon2id {
    /// Number of passes over the memory, at least 1.
    pub passes: u8,
    /// Degree of parallelism, at least 1. The lanes are nevertheless computed one after the other.
    pub lanes: u8,
    /// Memory in KiB, at least 8 per lane.
    pub memory_kib: u32,
}

impl Argon2id {
    /// Derives a key of `key_len` bytes, 4 to [`KEY_LEN_MAX`].
    ///
    /// The call allocates `memory_kib` KiB and overwrites them before they are freed. It cannot be interrupted, so callers
    /// check its cost beforehand ([`KdfLimits::check_argon2id`](crate::KdfLimits::check_argon2id)).
    ///
    /// # Errors
    /// [`Invalid`] if a parameter or the length of the salt or key is outside the definition of Argon2.
    pub fn derive(
        &self,
        salt: &[u8],
        passphrase: &[u8],
        key_len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Invalid> {
        if key_len > KEY_LEN_MAX {
            return Err(Invalid);
        }
        let params = Params::new(
            self.memory_kib,
            self.passes.into(),
            self.lanes.into(),
            Some(key_len),
        )
        .map_err(|_| Invalid)?;
        let mut memory = Zeroizing::new(vec![Block::default(); params.block_count()]);
        let mut key = Zeroizing::new(vec![0; key_len]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(passphrase, salt, &mut key, memory.as_mut_slice())
            .map_err(|_| Invalid)?;
        Ok(key)
    }
}
