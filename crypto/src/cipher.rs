//! Block ciphers of RFC 9580 section 9.3, and the CFB mode of OpenPGP.

use crate::Invalid;
use cfb_mode::Decryptor;
use cfb_mode::cipher::{BlockCipherEncrypt, InnerIvInit as _, Iv, KeyInit};

registry! {
    /// A block cipher.
    Cipher {
        Idea = 1,
        TripleDes = 2,
        Cast5 = 3,
        Blowfish = 4,
        Aes128 = 7,
        Aes192 = 8,
        Aes256 = 9,
        Twofish = 10,
        Camellia128 = 11,
        Camellia192 = 12,
        Camellia256 = 13,
    }
}

impl Cipher {
    /// Returns the length of a key in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Idea | Self::Cast5 | Self::Blowfish | Self::Aes128 | Self::Camellia128 => 16,
            Self::TripleDes | Self::Aes192 | Self::Camellia192 => 24,
            Self::Aes256 | Self::Twofish | Self::Camellia256 => 32,
        }
    }

    /// Returns the length of a block in bytes.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Idea | Self::TripleDes | Self::Cast5 | Self::Blowfish => 8,
            Self::Aes128
            | Self::Aes192
            | Self::Aes256
            | Self::Twofish
            | Self::Camellia128
            | Self::Camellia192
            | Self::Camellia256 => 16,
        }
    }
}

/// Decrypts `data` with full-block CFB, an all-zero IV and no resynchronisation, as SEIPD version 1 and SKESK version 4
/// use it (RFC 9580 section 12.9). The plaintext has the length of `data` and is not authenticated.
///
/// # Errors
/// [`Invalid`] if the length of `key` is not [`Cipher::key_len`].
pub fn cfb_decrypt(cipher: Cipher, key: &[u8], data: &[u8]) -> Result<Vec<u8>, Invalid> {
    if key.len() != cipher.key_len() {
        return Err(Invalid);
    }
    match cipher {
        Cipher::Idea => cfb::<idea::Idea>(key, data),
        Cipher::TripleDes => cfb::<des::TdesEde3>(key, data),
        Cipher::Cast5 => cfb::<cast5::Cast5>(key, data),
        Cipher::Blowfish => cfb::<blowfish::Blowfish>(key, data),
        Cipher::Aes128 => cfb::<aes::Aes128>(key, data),
        Cipher::Aes192 => cfb::<aes::Aes192>(key, data),
        Cipher::Aes256 => cfb::<aes::Aes256>(key, data),
        Cipher::Twofish => cfb::<twofish::Twofish>(key, data),
        Cipher::Camellia128 => cfb::<camellia::Camellia128>(key, data),
        Cipher::Camellia192 => cfb::<camellia::Camellia192>(key, data),
        Cipher::Camellia256 => cfb::<camellia::Camellia256>(key, data),
    }
}

fn cfb<C: BlockCipherEncrypt + KeyInit>(key: &[u8], data: &[u8]) -> Result<Vec<u8>, Invalid> {
    let cipher = C::new_from_slice(key).map_err(|_| Invalid)?;
    let cfb = Decryptor::inner_iv_init(cipher, &Iv::<Decryptor<C>>::default());
    let mut plain = vec![0; data.len()];
    cfb.decrypt_b2b(data, &mut plain).map_err(|_| Invalid)?;
    Ok(plain)
}
