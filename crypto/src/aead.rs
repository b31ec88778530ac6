//! AEAD modes of RFC 9580 section 9.6, over the ciphers with a block of 16 bytes.

use crate::{Cipher, Invalid};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::{U12, U15, U16};
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use eax::Eax;
use ocb3::Ocb3;

/// Length of the authentication tag in bytes, in all modes.
pub const TAG_LEN: usize = 16;

registry! {
    /// An AEAD mode.
    AeadMode {
        Eax = 1,
        Ocb = 2,
        Gcm = 3,
    }
}

impl AeadMode {
    /// Returns the length of a nonce in bytes.
    pub const fn nonce_len(self) -> usize {
        match self {
            Self::Eax => 16,
            Self::Ocb => 15,
            Self::Gcm => 12,
        }
    }
}

/// Decrypts `sealed`, which ends with its tag, in place and removes the tag.
///
/// Returns whether the tag fits the key, the nonce, the associated data and the ciphertext. If it does not, the bytes left
/// in `sealed` have no meaning and must not be used.
///
/// # Errors
/// [`Invalid`] if the cipher has another block length than 16 bytes, `key` or `nonce` has the wrong length, or `sealed` is
/// shorter than [`TAG_LEN`].
pub fn aead_open(
    mode: AeadMode,
    cipher: Cipher,
    key: &[u8],
    nonce: &[u8],
    associated: &[u8],
    sealed: &mut Vec<u8>,
) -> Result<bool, Invalid> {
    let call = Call {
        key,
        nonce,
        associated,
    };
    macro_rules! with_mode {
        ($block:ty) => {
            match mode {
                AeadMode::Eax => call.open::<Eax<$block>>(sealed),
                AeadMode::Ocb => call.open::<Ocb3<$block, U15, U16>>(sealed),
                AeadMode::Gcm => call.open::<AesGcm<$block, U12>>(sealed),
            }
        };
    }
    match cipher {
        Cipher::Aes128 => with_mode!(aes::Aes128),
        Cipher::Aes192 => with_mode!(aes::Aes192),
        Cipher::Aes256 => with_mode!(aes::Aes256),
        Cipher::Twofish => with_mode!(twofish::Twofish),
        Cipher::Camellia128 => with_mode!(camellia::Camellia128),
        Cipher::Camellia192 => with_mode!(camellia::Camellia192),
        Cipher::Camellia256 => with_mode!(camellia::Camellia256),
        Cipher::Idea | Cipher::TripleDes | Cipher::Cast5 | Cipher::Blowfish => Err(Invalid),
    }
}

struct Call<'a> {
    key: &'a [u8],
    nonce: &'a [u8],
    associated: &'a [u8],
}

impl Call<'_> {
    fn open<A: AeadInOut + KeyInit>(&self, sealed: &mut Vec<u8>) -> Result<bool, Invalid> {
        let aead = A::new_from_slice(self.key).map_err(|_| Invalid)?;
        let nonce = <&Nonce<A>>::try_from(self.nonce).map_err(|_| Invalid)?;
        let body = sealed.len().checked_sub(TAG_LEN).ok_or(Invalid)?;
        let (data, tag) = sealed.split_at_mut(body);
        let tag = <&Tag<A>>::try_from(&*tag).map_err(|_| Invalid)?;
        let opened = aead
            .decrypt_inout_detached(nonce, self.associated, data.into(), tag)
            .is_ok();
        sealed.truncate(body);
        Ok(opened)
    }
}
