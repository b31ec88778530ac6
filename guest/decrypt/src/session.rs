//! Session keys from passphrases: symmetric-key encrypted session key (SKESK) packets of versions 4, 5 and 6.
//!
//! This module parses SKESK packets itself, because rpgp does not support EAX in version 5, version 5 without a session
//! key (written by GnuPG 2.4), or Camellia and Twofish with AEAD, and derives keys without a limit on cost. Only the S2K
//! specifier inside is parsed by rpgp.

use crate::crypto::{AeadResult, Crypto};
use crate::rejection::{Rejection, unsupported};
use bulkhead_crypto::{AeadMode, Cipher, Hash, decode_count};
use hkdf::Hkdf;
use pgp::crypto::hash::HashAlgorithm;
use pgp::types::StringToKey;
use sha2::Sha256;
use zeroize::Zeroizing;

/// A session key, and the properties of its SKESK packet that decide which containers it may open.
pub(crate) struct SessionKey {
    /// Version of the SKESK packet.
    pub(crate) skesk: Version,
    /// Cipher of the session key: stored beside the key in version 4, the cipher of the SKESK packet otherwise.
    pub(crate) cipher: Cipher,
    /// Whether the SKESK packet is authenticated. If it is not, its cipher must equal that of the container; otherwise
    /// it could be altered unnoticed.
    pub(crate) authentic: bool,
    /// AEAD mode of a version 5 SKESK packet without a session key.
    pub(crate) mode: Option<AeadMode>,
    pub(crate) key: Zeroizing<Vec<u8>>,
}

/// Version of an SKESK packet (RFC 9580 section 5.3; version 5 is GnuPG's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V5,
    V6,
}

/// A parsed SKESK packet.
pub(crate) struct Skesk {
    version: Version,
    cipher: Cipher,
    s2k: StringToKey,
    wrapped: Wrapped,
}

/// How the session key is stored.
enum Wrapped {
    /// The packet contains no session key: the derived key is used directly. Version 5 has an AEAD mode even then.
    Derived(Option<AeadMode>),
    /// Version 4: the number of the cipher and the key, encrypted without integrity protection.
    Cfb(Vec<u8>),
    Aead {
        mode: AeadMode,
        nonce: Vec<u8>,
        sealed: Vec<u8>,
        /// Packet type, version, cipher and mode: the associated data.
        info: [u8; 4],
    },
}

impl Skesk {
    /// Parses the body of an SKESK packet (RFC 9580 section 5.3).
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Rejection> {
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
                let nonce = reader.take(aead_mode(mode_id)?.nonce_len())?;
                Self::aead(Version::V5, info, s2k, nonce, reader.rest())
            }
            6 => {
                // The length covers all fields up to and including the nonce.
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
                "it has a session-key packet of the unknown version {version}"
            ))),
        }
    }

    fn aead(
        version: Version,
        info: [u8; 4],
        s2k: StringToKey,
        nonce: &[u8],
        sealed: &[u8],
    ) -> Result<Self, Rejection> {
        let [_, _, cipher_id, mode_id] = info;
        let (cipher, mode) = (aead_cipher(cipher_id)?, aead_mode(mode_id)?);
        if nonce.len() != mode.nonce_len() {
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

    /// Decrypts the session key with `passphrase`. Returns `None` if the packet shows that the passphrase is wrong. In
    /// version 4, `Some` does not prove that it is right.
    pub(crate) fn open(
        &self,
        passphrase: &[u8],
        crypto: &mut impl Crypto,
    ) -> Result<Option<SessionKey>, Rejection> {
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
                // A wrong passphrase gives a random byte here. A number without a cipher, or a cipher with another
                // key length, shows that. Otherwise the integrity check of the container decides.
                Ok(cipher(id)
                    .ok()
                    .filter(|&cipher| cipher.key_len() == key.len())
                    .map(|cipher| session_key(cipher, Zeroizing::new(key.to_vec()))))
            }
            Wrapped::Aead {
                mode,
                nonce,
                sealed,
                info,
            } => {
                let key = match self.version {
                    Version::V6 => hkdf(None, &derived, info, self.cipher.key_len()),
                    Version::V4 | Version::V5 => derived,
                };
                match crypto.aead_open(*mode, self.cipher, &key, nonce, info, sealed) {
                    AeadResult::Authentic(key) => {
                        Ok(Some(session_key(self.cipher, Zeroizing::new(key))))
                    }
                    AeadResult::Unauthentic => Ok(None),
                    AeadResult::Invalid => Err(unsupported(
                        "its session key combines AEAD with a cipher of 8-byte blocks, which the format does not allow",
                    )),
                }
            }
        }
    }

    fn derive(
        &self,
        passphrase: &[u8],
        crypto: &mut impl Crypto,
    ) -> Result<Zeroizing<Vec<u8>>, Rejection> {
        let key_len = self.cipher.key_len();
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
                let memory_kib = 1_u32.checked_shl((*m_enc).into()).ok_or_else(|| {
                    unsupported("the memory size of its Argon2 key derivation is not valid")
                })?;
                crypto.argon2id(salt, passphrase, *t, *p, memory_kib, key_len)
            }
            other => Err(unsupported(format!(
                "it derives its key with the unknown S2K type {}",
                other.id()
            ))),
        }
    }
}

/// Derives `bytes` bytes by HKDF with SHA-256 (RFC 5869; RFC 9580 sections 5.3.2 and 5.13.2).
pub(crate) fn hkdf(
    salt: Option<&[u8]>,
    key: &[u8],
    info: &[u8],
    bytes: usize,
) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(vec![0; bytes]);
    Hkdf::<Sha256>::new(salt, key)
        .expand(info, &mut out)
        .expect("a key and a nonce are shorter than 255 digests");
    out
}

/// Returns the cipher with this number (RFC 9580 section 9.3).
pub(crate) fn cipher(id: u8) -> Result<Cipher, Rejection> {
    Cipher::from_id(id).ok_or_else(|| unsupported(format!("it uses the unknown cipher {id}")))
}

/// Returns the cipher with this number if AEAD can use it. The check does not need a key, so that the result does not depend
/// on the passphrase.
pub(crate) fn aead_cipher(id: u8) -> Result<Cipher, Rejection> {
    match cipher(id)? {
        cipher if cipher.block_len() == 16 => Ok(cipher),
        _ => Err(unsupported(
            "it combines AEAD with a cipher of 8-byte blocks, which the format does not allow",
        )),
    }
}

/// Returns the AEAD mode with this number (RFC 9580 section 9.6).
pub(crate) fn aead_mode(id: u8) -> Result<AeadMode, Rejection> {
    AeadMode::from_id(id).ok_or_else(|| unsupported(format!("it uses the unknown AEAD mode {id}")))
}

fn hash(algorithm: HashAlgorithm) -> Result<Hash, Rejection> {
    let id = u8::from(algorithm);
    Hash::from_id(id)
        .ok_or_else(|| unsupported(format!("it derives its key with the unknown hash {id}")))
}

/// Reads the fields of a packet body in order. A field that exceeds the body is a malformed packet.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Result<u8, Rejection> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Rejection> {
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

    fn s2k(&mut self) -> Result<StringToKey, Rejection> {
        StringToKey::try_from_reader(&mut self.0)
            .map_err(|_| unsupported("its key-derivation (S2K) parameters are malformed"))
    }
}
