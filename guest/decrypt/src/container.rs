//! Encrypted containers: SEIPD versions 1 and 2 (RFC 9580 section 5.13) and GnuPG's packet 20.
//!
//! [`Container::open`] gives plaintext only when all of it is authentic.

use crate::bindings::bulkhead::crypto::bulk::{AeadMode, Cipher};
use crate::crypto::{AeadResult, Crypto};
use crate::packet::{Packet, tag};
use crate::refusal::{Refusal, unsupported};
use crate::session::{
    self, Reader, SessionKey, TAG_BYTES, Version, block_bytes, key_bytes, nonce_bytes,
};

/// The modification detection code: a packet of two header bytes and a SHA-1.
const MDC_HEADER: [u8; 2] = [0xd3, 0x14];
const MDC_BYTES: usize = 22;

/// The smallest chunk is 64 bytes; the coded size is the exponent above that.
const CHUNK_EXPONENT_MIN: u8 = 6;

/// Largest coded chunk sizes: RFC 9580 section 5.13.2, and GnuPG's packet 20.
const SEIPD2_CHUNK_CODE_MAX: u8 = 16;
const GNUPG_CHUNK_CODE_MAX: u8 = 56;

/// An encrypted container, read as far as its fixed fields.
pub(crate) enum Container<'a> {
    Seipd1 { encrypted: &'a [u8] },
    Seipd2 { chunks: Chunks<'a>, salt: &'a [u8] },
    GnupgAead { chunks: Chunks<'a>, iv: &'a [u8] },
}

/// What was in a container.
pub(crate) struct Plaintext {
    bytes: Vec<u8>,
    /// Where the packets begin: what is in front of them is not cut off, which would move megabytes.
    start: usize,
}

impl Plaintext {
    /// All of it is packets.
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }

    /// The packets inside, and where in that buffer they begin.
    pub(crate) fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.start)
    }
}

/// The fields that SEIPD version 2 and packet 20 have in common.
pub(crate) struct Chunks<'a> {
    cipher: Cipher,
    mode: AeadMode,
    chunk_bytes: usize,
    /// Packet type, version, cipher, mode and chunk size: bound to every chunk.
    info: [u8; 5],
    sealed: &'a [u8],
}

/// How chunk nonces are made from the starting value.
enum Nonces {
    /// SEIPD version 2: the index follows the starting value.
    Appended,
    /// Packet 20: the index is added (exclusive or) to the last eight bytes.
    Mixed,
}

impl<'a> Container<'a> {
    /// Reads the container, or says why this kind of content is refused.
    pub(crate) fn parse(packet: &'a Packet<'_>) -> Result<Self, Refusal> {
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
                    "its encrypted data is of version {version}"
                ))),
            },
            tag::GNUPG_AEAD => match body.byte()? {
                1 => {
                    let info = [0xd4, 1, body.byte()?, body.byte()?, body.byte()?];
                    let iv = body.take(nonce_bytes(session::aead_mode(info[3])?))?;
                    let chunks = Chunks::new(info, GNUPG_CHUNK_CODE_MAX, body.rest())?;
                    Ok(Self::GnupgAead { chunks, iv })
                }
                version => Err(unsupported(format!(
                    "its encrypted data (packet 20) is of version {version}"
                ))),
            },
            tag::ENCRYPTED_UNPROTECTED => Err(unsupported(
                "it has no integrity protection (packet 9), so that nobody can tell whether it was altered",
            )),
            tag::LITERAL | tag::COMPRESSED | tag::ONE_PASS_SIGNATURE | tag::SIGNATURE => {
                Err(unsupported("its content is not encrypted"))
            }
            tag::PUBLIC_KEY | tag::SECRET_KEY => Err(unsupported("it is a key, not a message")),
            other => Err(unsupported(format!("it contains a packet of type {other}"))),
        }
    }

    /// Whether a session key of this kind may open this container. Each version goes with its own
    /// (RFC 9580 section 5.3); beside that, what programs in use write: version 4 in front of
    /// packet 20 and of SEIPD version 2 (whose key depends on its parameters), version 5 in front
    /// of SEIPD version 1. Version 6 with anything older would be a downgrade.
    pub(crate) fn accepts(&self, key: &SessionKey) -> bool {
        let versions = match self {
            Self::Seipd1 { .. } => matches!(key.skesk, Version::V4 | Version::V5),
            Self::Seipd2 { .. } => matches!(key.skesk, Version::V4 | Version::V6),
            Self::GnupgAead { .. } => matches!(key.skesk, Version::V4 | Version::V5),
        };
        let cipher = self.cipher(key);
        let named = key.authentic || key.cipher == cipher;
        let mode = key.mode.is_none() || key.mode == self.mode();
        versions && named && mode && key.key.len() == key_bytes(cipher)
    }

    fn mode(&self) -> Option<AeadMode> {
        match self {
            Self::Seipd1 { .. } => None,
            Self::Seipd2 { chunks, .. } | Self::GnupgAead { chunks, .. } => Some(chunks.mode),
        }
    }

    /// The cipher: the container's own where it names one, else the session key's.
    fn cipher(&self, key: &SessionKey) -> Cipher {
        match self {
            Self::Seipd1 { .. } => key.cipher,
            Self::Seipd2 { chunks, .. } | Self::GnupgAead { chunks, .. } => chunks.cipher,
        }
    }

    /// The packets inside, or `None` where the key is not the right one or a byte was altered.
    pub(crate) fn open(
        &self,
        key: &SessionKey,
        crypto: &mut impl Crypto,
    ) -> Result<Option<Plaintext>, Refusal> {
        match self {
            Self::Seipd1 { encrypted } => Ok(open_seipd1(key, encrypted, crypto)),
            Self::Seipd2 { chunks, salt } => {
                let key_len = key_bytes(chunks.cipher);
                let iv_len = nonce_bytes(chunks.mode) - size_of::<u64>();
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

/// RFC 9580 section 5.13.1. The repeated two bytes of the prefix are not looked at: they are no
/// protection, and checking them first has been an oracle. The modification detection code
/// decides, over everything in front of it.
fn open_seipd1(key: &SessionKey, encrypted: &[u8], crypto: &mut impl Crypto) -> Option<Plaintext> {
    let prefix = block_bytes(key.cipher) + 2;
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

/// Compares without an early end.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

impl<'a> Chunks<'a> {
    fn new(info: [u8; 5], chunk_code_max: u8, sealed: &'a [u8]) -> Result<Self, Refusal> {
        let [_, _, cipher, mode, chunk_code] = info;
        if chunk_code > chunk_code_max {
            return Err(unsupported(
                "its chunk size is larger than the format allows",
            ));
        }
        let chunk_bytes = 1_usize
            .checked_shl((chunk_code + CHUNK_EXPONENT_MIN).into())
            .unwrap_or(usize::MAX / 2);
        Ok(Self {
            cipher: session::cipher(cipher)?,
            mode: session::aead_mode(mode)?,
            chunk_bytes,
            info,
            sealed,
        })
    }

    /// Opens chunk after chunk, then the tag over their number of bytes, without which the end
    /// could have been cut off (RFC 9580 section 5.13.2).
    fn open(
        &self,
        key: &[u8],
        iv: &[u8],
        nonces: &Nonces,
        crypto: &mut impl Crypto,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let Some((mut rest, final_tag)) = self
            .sealed
            .len()
            .checked_sub(TAG_BYTES)
            .map(|at| self.sealed.split_at(at))
        else {
            return Ok(None);
        };
        let mut plain = Vec::with_capacity(rest.len());
        let mut index = 0_u64;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(self.chunk_bytes + TAG_BYTES));
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
        reason = "the parameters of one AEAD call; a struct for them would be built once"
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
    ) -> Result<Option<Vec<u8>>, Refusal> {
        if sealed.len() < TAG_BYTES {
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
                "it is encrypted with a cipher that AEAD does not go with",
            )),
        }
    }

    /// What is bound to a chunk: the container's parameters; in packet 20 the index too; for the
    /// final tag also the number of bytes.
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
