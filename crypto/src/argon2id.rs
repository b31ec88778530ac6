//! Argon2 as S2K: RFC 9580 section 3.7.1.4, RFC 9106.

use crate::{Invalid, KEY_LEN_MAX};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

/// One Argon2id derivation.
#[derive(Clone, Copy)]
pub struct Argon2id {
    /// Passes over the memory, at least 1.
    pub passes: u8,
    /// Lanes (degree of parallelism), at least 1. They are filled one after the other.
    pub lanes: u8,
    /// Memory in KiB, at least 8 a lane.
    pub memory_kib: u32,
}

impl Argon2id {
    /// Derives a key of `key_len` bytes, 4 to [`KEY_LEN_MAX`]. Allocates `memory_kib` KiB and
    /// gives them back wiped. Not interruptible: bound passes and memory before calling.
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
