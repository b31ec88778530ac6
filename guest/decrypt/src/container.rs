//! Encrypted containers: SEIPD packets of versions 1 and 2 (RFC 9580 section 5.13) and GnuPG's packet of type 20.
//!
//! [`Container::open`] returns plaintext only after all of it was authenticated.

use crate::crypto::{AeadResult, Crypto};
use crate::packet::{Packet, tag};
use crate::rejection::{Rejection, unsupported};
use crate::session::{self, Reader, SessionKey, Version};
use bulkhead_crypto::{AeadMode, Cipher, TAG_LEN};

/// The header of the modification detection code, a packet that contains a SHA-1 digest.
const MDC_HEADER: [u8; 2] = [0xd3, 0x14];
const MDC_BYTES: usize = 22;

/// Exponent of the smallest chunk size, 64 bytes. The coded size is added to it.
const CHUNK_EXPONENT_MIN: u8 = 6;

/// Maximum coded chunk sizes: of RFC 9580 section 5.13.2, and of packet type 20.
const SEIPD2_CHUNK_CODE_MAX: u8 = 16;
const GNUPG_CHUNK_CODE_MAX: u8 = 56;

/// An encrypted container whose fixed fields have been parsed.
pub(crate) enum Container<'a> {
    Seipd1 { encrypted: &'a [u8] },
    Seipd2 { chunks: Chunks<'a>, salt: &'a [u8] },
    GnupgAead { chunks: Chunks<'a>, iv: &'a [u8] },
}

/// The decrypted content of a container.
pub(crate) struct Plaintext {
    bytes: Vec<u8>,
    /// Offset of the first packet. Removing the bytes in front of it would move megabytes.
    start: usize,
}

impl Plaintext {
    /// Content that consists of packets from its first byte.
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }

    /// Returns the buffer and the offset of the first packet in it.
    pub(crate) fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.start)
    }
}

/// The fields that SEIPD version 2 and packet type 20 have in common.
pub(crate) struct Chunks<'a> {
    cipher: Cipher,
    mode: AeadMode,
    chunk_bytes: usize,
    /// Packet type, version, cipher, mode and chunk size: associated data of every chunk.
    info: [u8; 5],
    sealed: &'a [u8],
}

/// The way in which the nonce of a chunk is made from the initial value and the chunk's index.
enum Nonces {
    /// SEIPD version 2: the index follows the initial value.
    Appended,
    /// Packet type 20: the index is combined with the last eight bytes by exclusive or.
    Mixed,
}

impl<'a> Container<'a> {
    /// Parses the packet as a container, or returns why its kind is not supported.
    pub(crate) fn parse(packet: &'a Packet<'_>) -> Result<Self, Rejection> {
        let mut body = Reader(&packet.body);
        match packet.tag {
            tag::SEIPD => match body.byte()? {
                1 => Ok(Self::Seipd1 {
                    encrypted: body.rest(),
                }),
                2 => {
                    let info = [0xd2, 2, body.byte()?, body.byte()?, body.byte()?];
                    let salt = body.take(32)?;
                    let chunks = Chunks::new(info, SEIPD2_CHUNK_CODE_MAX, body.rest())?;
                    Ok(Self::Seipd2 { chunks, salt })
                }
                version => Err(unsupported(format!(
                    "its encrypted data has the unknown version {version}"
                ))),
            },
            tag::GNUPG_AEAD => match body.byte()? {
                1 => {
                    let info = [0xd4, 1, body.byte()?, body.byte()?, body.byte()?];
                    let iv = body.take(session::aead_mode(info[3])?.nonce_len())?;
                    let chunks = Chunks::new(info, GNUPG_CHUNK_CODE_MAX, body.rest())?;
                    Ok(Self::GnupgAead { chunks, iv })
                }
                version => Err(unsupported(format!(
                    "its encrypted data (packet type 20) has the unknown version {version}"
                ))),
            },
            tag::ENCRYPTED_UNPROTECTED => Err(unsupported(
                "it has no integrity protection (packet type 9), so that alterations cannot be detected; gpg --ignore-mdc-error decrypts it",
            )),
            tag::LITERAL | tag::COMPRESSED | tag::ONE_PASS_SIGNATURE | tag::SIGNATURE => {
                Err(unsupported("its content is not encrypted"))
            }
            tag::PUBLIC_KEY | tag::SECRET_KEY => Err(unsupported("it is a key, not a message")),
            other => Err(unsupported(format!("it contains a packet of type {other}"))),
        }
    }

    /// Returns whether a session key of this kind may open this container.
    ///
    /// Each version of SKESK has its own container (RFC 9580 section 5.3). In addition, programs in use write version 4
    /// in front of packet type 20 and of SEIPD version 2, whose key depends on its parameters, and version 5 in front of
    /// SEIPD version 1. Version 6 in front of an older container would be a downgrade.
    pub(crate) fn accepts(&self, key: &SessionKey) -> bool {
        let versions = match self {
            Self::Seipd1 { .. } => matches!(key.skesk, Version::V4 | Version::V5),
            Self::Seipd2 { .. } => matches!(key.skesk, Version::V4 | Version::V6),
            Self::GnupgAead { .. } => matches!(key.skesk, Version::V4 | Version::V5),
        };
        let cipher = self.cipher(key);
        let named = key.authentic || key.cipher == cipher;
        let mode = key.mode.is_none() || key.mode == self.mode();
        versions && named && mode && key.key.len() == cipher.key_len()
    }

    fn mode(&self) -> Option<AeadMode> {
        match self {
            Self::Seipd1 { .. } => None,
            Self::Seipd2 { chunks, .. } | Self::GnupgAead { chunks, .. } => Some(chunks.mode),
        }
    }

    /// Returns the container's own cipher, or that of the session key if the container does not name one.
    fn cipher(&self, key: &SessionKey) -> Cipher {
        match self {
            Self::Seipd1 { .. } => key.cipher,
            Self::Seipd2 { chunks, .. } | Self::GnupgAead { chunks, .. } => chunks.cipher,
        }
    }

    /// Decrypts and authenticates the content. Returns `None` if the key is wrong or a byte was altered.
    pub(crate) fn open(
        &self,
        key: &SessionKey,
        crypto: &mut impl Crypto,
    ) -> Result<Option<Plaintext>, Rejection> {
        match self {
            Self::Seipd1 { encrypted } => Ok(open_seipd1(key, encrypted, crypto)),
            Self::Seipd2 { chunks, salt } => {
                let key_len = chunks.cipher.key_len();
                let iv_len = chunks.mode.nonce_len() - size_of::<u64>();
                let okm = session::hkdf(Some(salt), &key.key, &chunks.info, key_len + iv_len);
                let (message_key, iv) = okm.split_at(key_len);
                let opened = chunks.open(message_key, iv, &Nonces::Appended, crypto)?;
                Ok(opened.map(Plaintext::whole))
            }
            Self::GnupgAead { chunks, iv } => {
                let opened = chunks.open(&key.key, iv, &Nonces::Mixed, crypto)?;
                Ok(opened.map(Plaintext::whole))
            }
        }
    }
}

/// Opens a SEIPD packet of version 1 (RFC 9580 section 5.13.1).
///
/// Only the modification detection code over everything in front of it decides. The two repeated bytes of the prefix do
/// not protect anything, and a check of them first has served attackers as an oracle, so they are ignored.
fn open_seipd1(key: &SessionKey, encrypted: &[u8], crypto: &mut impl Crypto) -> Option<Plaintext> {
    let prefix = key.cipher.block_len() + 2;
    if encrypted.len() < prefix + MDC_BYTES {
        return None;
    }
    let mut plain = crypto.cfb_decrypt(key.cipher, &key.key, encrypted)?;
    let end = plain.len() - MDC_BYTES;
    let hashed = end + MDC_HEADER.len();
    let authentic =
        plain[end..hashed] == MDC_HEADER && equal(&crypto.sha1(&plain[..hashed]), &plain[hashed..]);
    if !authentic {
        return None;
    }
    plain.truncate(end);
    Some(Plaintext {
        bytes: plain,
        start: prefix,
    })
}

/// Compares in a time that depends on the lengths only.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

impl<'a> Chunks<'a> {
    fn new(info: [u8; 5], chunk_code_max: u8, sealed: &'a [u8]) -> Result<Self, Rejection> {
        let [_, _, cipher, mode, chunk_code] = info;
        if chunk_code > chunk_code_max {
            return Err(unsupported(
                "its chunk size exceeds the maximum of the format",
            ));
        }
        let chunk_bytes = 1_usize
            .checked_shl((chunk_code + CHUNK_EXPONENT_MIN).into())
            .unwrap_or(usize::MAX / 2);
        Ok(Self {
            cipher: session::aead_cipher(cipher)?,
            mode: session::aead_mode(mode)?,
            chunk_bytes,
            info,
            sealed,
        })
    }

    /// Opens all chunks in order, and then the final tag over the total number of bytes, which detects missing chunks at
    /// the end (RFC 9580 section 5.13.2).
    fn open(
        &self,
        key: &[u8],
        iv: &[u8],
        nonces: &Nonces,
        crypto: &mut impl Crypto,
    ) -> Result<Option<Vec<u8>>, Rejection> {
        let Some((mut rest, final_tag)) = self
            .sealed
            .len()
            .checked_sub(TAG_LEN)
            .map(|at| self.sealed.split_at(at))
        else {
            return Ok(None);
        };
        let mut plain = Vec::with_capacity(rest.len());
        let mut index = 0_u64;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(self.chunk_bytes + TAG_LEN));
            rest = after;
            let associated = self.associated(nonces, index, None);
            match self.open_chunk(key, iv, nonces, index, &associated, chunk, crypto)? {
                Some(opened) => plain.extend_from_slice(&opened),
                None => return Ok(None),
            }
            index += 1;
        }
        let associated = self.associated(nonces, index, Some(plain.len() as u64));
        let end = self.open_chunk(key, iv, nonces, index, &associated, final_tag, crypto)?;
        Ok(end.map(|_| plain))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "these are the parameters of one AEAD call; a struct for them would be built in one place"
    )]
    fn open_chunk(
        &self,
        key: &[u8],
        iv: &[u8],
        nonces: &Nonces,
        index: u64,
        associated: &[u8],
        sealed: &[u8],
        crypto: &mut impl Crypto,
    ) -> Result<Option<Vec<u8>>, Rejection> {
        if sealed.len() < TAG_LEN {
            return Ok(None);
        }
        let index = index.to_be_bytes();
        let mut nonce = iv.to_vec();
        match nonces {
            Nonces::Appended => nonce.extend_from_slice(&index),
            Nonces::Mixed => {
                let tail = nonce.len() - index.len();
                for (byte, index) in nonce[tail..].iter_mut().zip(index) {
                    *byte ^= index;
                }
            }
        }
        match crypto.aead_open(self.mode, self.cipher, key, &nonce, associated, sealed) {
            AeadResult::Authentic(plain) => Ok(Some(plain)),
            AeadResult::Unauthentic => Ok(None),
            AeadResult::Invalid => Err(unsupported(
                "it combines AEAD with a cipher of 8-byte blocks, which the format does not allow",
            )),
        }
    }

    /// Returns the associated data of a chunk: the container's parameters, in packet type 20 the index, and for the final
    /// tag the total number of bytes.
    fn associated(&self, nonces: &Nonces, index: u64, total: Option<u64>) -> Vec<u8> {
        let mut associated = self.info.to_vec();
        if matches!(nonces, Nonces::Mixed) {
            associated.extend_from_slice(&index.to_be_bytes());
        }
        if let Some(total) = total {
            associated.extend_from_slice(&total.to_be_bytes());
        }
        associated
    }
}
