//! Session keys from passphrases: SKESK packets of versions 4, 5 and 6.
//!
//! Parsed here and not by rpgp, which knows no EAX in version 5, no version 5 without a session
//! key (GnuPG 2.4 writes those), no Camellia or Twofish with AEAD, and derives keys without a cap.
//! The S2K specifier inside is rpgp's.

use crate::bindings::bulkhead::crypto::bulk::{AeadMode, Cipher};
use crate::bindings::bulkhead::crypto::kdf::Hash;
use crate::crypto::{AeadResult, Crypto};
use crate::refusal::{Refusal, unsupported};
use hkdf::Hkdf;
use pgp::crypto::aead::AeadAlgorithm;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::types::StringToKey;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of an AEAD tag.
pub(crate) const TAG_BYTES: usize = 16;

/// A session key and how it was come by, which decides what it may open.
pub(crate) struct SessionKey {
    /// The version of the SKESK.
    pub(crate) skesk: Version,
    /// The cipher it is for: named beside the key in version 4, else the SKESK's own.
    pub(crate) cipher: Cipher,
    /// Whether the SKESK itself is authentic. Where not, what it names must be what the container
    /// names, or it could be altered unnoticed.
    pub(crate) authentic: bool,
    /// The mode that a version 5 SKESK without a session key names.
    pub(crate) mode: Option<AeadMode>,
    pub(crate) key: Zeroizing<Vec<u8>>,
}

/// The versions of SKESK packets (RFC 9580 section 5.3; 5 is GnuPG's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V5,
    V6,
}

/// A symmetric-key encrypted session key.
pub(crate) struct Skesk {
    version: Version,
    cipher: Cipher,
    s2k: StringToKey,
    wrapped: Wrapped,
}

/// How the session key is stored.
enum Wrapped {
    /// Not at all: the derived key is the session key. Version 5 names a mode all the same.
    Derived(Option<AeadMode>),
    /// Version 4: encrypted without integrity, behind a byte that names its cipher.
    Cfb(Vec<u8>),
    Aead {
        mode: AeadMode,
        nonce: Vec<u8>,
        sealed: Vec<u8>,
        /// Packet type, version, cipher and mode: what the key is bound to.
        info: [u8; 4],
    },
}

impl Skesk {
    /// Reads the body of an SKESK packet (RFC 9580 section 5.3).
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let mut reader = Reader(body);
        match reader.byte()? {
            4 => {
                let cipher = cipher(reader.byte()?)?;
                let s2k = reader.s2k()?;
                let wrapped = match reader.rest() {
                    [] => Wrapped::Derived(None),
                    key => Wrapped::Cfb(key.to_vec()),
                };
                Ok(Self {
                    version: Version::V4,
                    cipher,
                    s2k,
                    wrapped,
                })
            }
            5 => {
                let (cipher_id, mode_id) = (reader.byte()?, reader.byte()?);
                let s2k = reader.s2k()?;
                let info = [0xc3, 5, cipher_id, mode_id];
                if reader.0.is_empty() {
                    let (version, cipher) = (Version::V5, cipher(cipher_id)?);
                    let wrapped = Wrapped::Derived(Some(aead_mode(mode_id)?));
                    return Ok(Self {
                        version,
                        cipher,
                        s2k,
                        wrapped,
                    });
                }
                let nonce = reader.take(nonce_bytes(aead_mode(mode_id)?))?;
                Self::aead(Version::V5, info, s2k, nonce, reader.rest())
            }
            6 => {
                // The count covers all up to the nonce, and nothing else.
                let parameters = usize::from(reader.byte()?);
                let mut parameters = Reader(reader.take(parameters)?);
                let (cipher_id, mode_id) = (parameters.byte()?, parameters.byte()?);
                let s2k_bytes = usize::from(parameters.byte()?);
                let mut s2k = Reader(parameters.take(s2k_bytes)?);
                let info = [0xc3, 6, cipher_id, mode_id];
                let nonce = parameters.rest();
                Self::aead(Version::V6, info, s2k.s2k()?, nonce, reader.rest())
            }
            version => Err(unsupported(format!(
                "it has a session-key packet of version {version}"
            ))),
        }
    }

    fn aead(
        version: Version,
        info: [u8; 4],
        s2k: StringToKey,
        nonce: &[u8],
        sealed: &[u8],
    ) -> Result<Self, Refusal> {
        let [_, _, cipher_id, mode_id] = info;
        let (cipher, mode) = (cipher(cipher_id)?, aead_mode(mode_id)?);
        if nonce.len() != nonce_bytes(mode) {
            return Err(unsupported("one of its session-key packets is malformed"));
        }
        Ok(Self {
            version,
            cipher,
            s2k,
            wrapped: Wrapped::Aead {
                mode,
                nonce: nonce.to_vec(),
                sealed: sealed.to_vec(),
                info,
            },
        })
    }

    /// The session key under `passphrase`, or `None` where the packet itself shows that the
    /// passphrase is not the one. `Some` proves nothing in version 4.
    pub(crate) fn open(
        &self,
        passphrase: &str,
        crypto: &mut impl Crypto,
    ) -> Result<Option<SessionKey>, Refusal> {
        let derived = self.derive(passphrase, crypto)?;
        let session_key = |cipher, key| SessionKey {
            skesk: self.version,
            cipher,
            authentic: matches!(self.wrapped, Wrapped::Aead { .. }),
            mode: match self.wrapped {
                Wrapped::Derived(mode) => mode,
                Wrapped::Cfb(_) | Wrapped::Aead { .. } => None,
            },
            key,
        };
        match &self.wrapped {
            Wrapped::Derived(_) => Ok(Some(session_key(self.cipher, derived))),
            Wrapped::Cfb(encrypted) => {
                let plain = crypto.cfb_decrypt(self.cipher, &derived, encrypted);
                let Some(plain) = plain.map(Zeroizing::new) else {
                    return Ok(None);
                };
                let Some((&id, key)) = plain.split_first() else {
                    return Ok(None);
                };
                // A wrong passphrase gives a random byte here. What names no cipher, or one with
                // keys of another length, is not the key; the rest is left to the integrity check.
                Ok(cipher(id)
                    .ok()
                    .filter(|&cipher| key_bytes(cipher) == key.len())
                    .map(|cipher| session_key(cipher, Zeroizing::new(key.to_vec()))))
            }
            Wrapped::Aead {
                mode,
                nonce,
                sealed,
                info,
            } => {
                let key = match self.version {
                    Version::V6 => hkdf(None, &derived, info, key_bytes(self.cipher)),
                    Version::V4 | Version::V5 => derived,
                };
                match crypto.aead_open(*mode, self.cipher, &key, nonce, info, sealed) {
                    AeadResult::Authentic(key) => {
                        Ok(Some(session_key(self.cipher, Zeroizing::new(key))))
                    }
                    AeadResult::Unauthentic => Ok(None),
                    AeadResult::Invalid => Err(unsupported(
                        "its session key is encrypted with a cipher that AEAD does not go with",
                    )),
                }
            }
        }
    }

    fn derive(
        &self,
        passphrase: &str,
        crypto: &mut impl Crypto,
    ) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let key_len = key_bytes(self.cipher);
        let passphrase = passphrase.as_bytes();
        match &self.s2k {
            StringToKey::Simple { hash_alg } => {
                crypto.s2k(hash(*hash_alg)?, &[], passphrase, 0, key_len)
            }
            StringToKey::Salted { hash_alg, salt } => {
                crypto.s2k(hash(*hash_alg)?, salt, passphrase, 0, key_len)
            }
            StringToKey::IteratedAndSalted {
                hash_alg,
                salt,
                count,
            } => crypto.s2k(
                hash(*hash_alg)?,
                salt,
                passphrase,
                decode_count(*count),
                key_len,
            ),
            StringToKey::Argon2 { salt, t, p, m_enc } => {
                let memory_kib = 1_u32
                    .checked_shl((*m_enc).into())
                    .ok_or_else(|| unsupported("its Argon2 memory size is not a valid one"))?;
                crypto.argon2id(salt, passphrase, *t, *p, memory_kib, key_len)
            }
            other => Err(unsupported(format!(
                "it derives its key with S2K type {}",
                other.id()
            ))),
        }
    }
}

/// Bytes to hash for a coded count (RFC 9580 section 3.7.1.3): 1,024 to 65,011,712.
fn decode_count(coded: u8) -> u32 {
    (16 + u32::from(coded & 15)) << (u32::from(coded >> 4) + 6)
}

/// HKDF with SHA-256 (RFC 5869), as RFC 9580 uses it in sections 5.3.2 and 5.13.2.
pub(crate) fn hkdf(
    salt: Option<&[u8]>,
    key: &[u8],
    info: &[u8],
    bytes: usize,
) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(vec![0; bytes]);
    Hkdf::<Sha256>::new(salt, key)
        .expand(info, &mut out)
        .expect("a key and a nonce are far below 255 digests");
    out
}

/// The cipher of an id (RFC 9580 section 9.3).
pub(crate) fn cipher(id: u8) -> Result<Cipher, Refusal> {
    Ok(match SymmetricKeyAlgorithm::from(id) {
        SymmetricKeyAlgorithm::IDEA => Cipher::Idea,
        SymmetricKeyAlgorithm::TripleDES => Cipher::Tdes,
        SymmetricKeyAlgorithm::CAST5 => Cipher::Cast5,
        SymmetricKeyAlgorithm::Blowfish => Cipher::Blowfish,
        SymmetricKeyAlgorithm::AES128 => Cipher::Aes128,
        SymmetricKeyAlgorithm::AES192 => Cipher::Aes192,
        SymmetricKeyAlgorithm::AES256 => Cipher::Aes256,
        SymmetricKeyAlgorithm::Twofish => Cipher::Twofish,
        SymmetricKeyAlgorithm::Camellia128 => Cipher::Camellia128,
        SymmetricKeyAlgorithm::Camellia192 => Cipher::Camellia192,
        SymmetricKeyAlgorithm::Camellia256 => Cipher::Camellia256,
        _ => return Err(unsupported(format!("it uses the unknown cipher {id}"))),
    })
}

/// Bytes of a cipher's key.
pub(crate) fn key_bytes(cipher: Cipher) -> usize {
    match cipher {
        Cipher::Idea | Cipher::Cast5 | Cipher::Blowfish | Cipher::Aes128 | Cipher::Camellia128 => {
            16
        }
        Cipher::Tdes | Cipher::Aes192 | Cipher::Camellia192 => 24,
        Cipher::Aes256 | Cipher::Twofish | Cipher::Camellia256 => 32,
    }
}

/// Bytes of a cipher's block.
pub(crate) fn block_bytes(cipher: Cipher) -> usize {
    match cipher {
        Cipher::Idea | Cipher::Tdes | Cipher::Cast5 | Cipher::Blowfish => 8,
        _ => 16,
    }
}

/// The AEAD mode of an id (RFC 9580 section 9.6).
pub(crate) fn aead_mode(id: u8) -> Result<AeadMode, Refusal> {
    Ok(match AeadAlgorithm::from(id) {
        AeadAlgorithm::Eax => AeadMode::Eax,
        AeadAlgorithm::Ocb => AeadMode::Ocb,
        AeadAlgorithm::Gcm => AeadMode::Gcm,
        _ => return Err(unsupported(format!("it uses the unknown AEAD mode {id}"))),
    })
}

/// Bytes of a mode's nonce.
pub(crate) fn nonce_bytes(mode: AeadMode) -> usize {
    match mode {
        AeadMode::Eax => 16,
        AeadMode::Ocb => 15,
        AeadMode::Gcm => 12,
    }
}

fn hash(algorithm: HashAlgorithm) -> Result<Hash, Refusal> {
    Ok(match algorithm {
        HashAlgorithm::Md5 => Hash::Md5,
        HashAlgorithm::Sha1 => Hash::Sha1,
        HashAlgorithm::Ripemd160 => Hash::Ripemd160,
        HashAlgorithm::Sha224 => Hash::Sha224,
        HashAlgorithm::Sha256 => Hash::Sha256,
        HashAlgorithm::Sha384 => Hash::Sha384,
        HashAlgorithm::Sha512 => Hash::Sha512,
        HashAlgorithm::Sha3_256 => Hash::Sha3256,
        HashAlgorithm::Sha3_512 => Hash::Sha3512,
        other => {
            return Err(unsupported(format!(
                "it derives its key with the unknown hash {}",
                u8::from(other)
            )));
        }
    })
}

/// Fixed fields from the front of a body; running out of bytes is a malformed packet.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Result<u8, Refusal> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or_else(|| unsupported("one of its packets is malformed"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn s2k(&mut self) -> Result<StringToKey, Refusal> {
        StringToKey::try_from_reader(&mut self.0)
            .map_err(|_| unsupported("its key derivation (S2K) is malformed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coded_counts_span_what_the_rfc_says() {
        assert_eq!(decode_count(0), 1024);
        assert_eq!(decode_count(0x60), 65_536);
        assert_eq!(decode_count(0xff), 65_011_712);
    }
}
