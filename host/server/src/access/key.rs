//! Access keys: their form, and the digests by which a server knows them.
//!
//! A key is `bh_`, 43 random characters of base62 (256 bits) and a checksum of 6 characters. The prefix and
//! the checksum let scanners recognise a leaked key without asking a server.

use crate::config::secrets::Secret;
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest as _, Sha256};
use std::fmt::{Display, Formatter};

const PREFIX: &str = "bh_";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is more than 2^256.
const RANDOM_LENGTH: usize = 43;
/// 62^6 is more than 2^32.
const CHECKSUM_LENGTH: usize = 6;

/// An access key, which is wiped when it is dropped and never shown by `Debug`.
#[derive(Debug)]
pub(crate) struct AccessKey(Secret);

impl AccessKey {
    /// Returns a new random key.
    ///
    /// # Errors
    /// If the system does not give random bytes.
    pub(crate) fn generate() -> std::io::Result<Self> {
        // A larger byte would make the first digits more likely than the others.
        const BYTE_MAX: u8 = 62 * 4 - 1;
        let mut key = Vec::with_capacity(PREFIX.len() + RANDOM_LENGTH + CHECKSUM_LENGTH);
        key.extend_from_slice(PREFIX.as_bytes());
        while key.len() < PREFIX.len() + RANDOM_LENGTH {
            let mut byte = [0];
            // A signal may interrupt the call. It then returns no byte, or an error that says so.
            match getrandom(&mut byte, GetRandomFlags::empty()) {
                Ok(1) if byte[0] <= BYTE_MAX => key.push(DIGITS[usize::from(byte[0] % 62)]),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let checksum = checksum(&key);
        key.extend_from_slice(&checksum);
        Ok(Self(Secret::new(key)))
    }

    /// Returns the key that a text holds, or `None` if the prefix, the length or the checksum is wrong. A
    /// server accepts a key by its digest alone. This check finds typing errors.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (body, sum) = text.as_bytes().split_last_chunk::<CHECKSUM_LENGTH>()?;
        let digits = body.strip_prefix(PREFIX.as_bytes())?;
        let is_key = digits.len() == RANDOM_LENGTH
            && digits.iter().all(u8::is_ascii_alphanumeric)
            && *sum == checksum(body);
        is_key.then(|| Self(Secret::new(text)))
    }

    pub(crate) fn digest(&self) -> KeyDigest {
        KeyDigest::of(self.0.expose())
    }

    /// Returns the text of the key.
    pub(crate) fn expose(&self) -> &str {
        std::str::from_utf8(self.0.expose()).expect("a key should consist of ASCII characters")
    }
}

/// Returns the CRC-32 of the text as digits of base62.
fn checksum(text: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(text);
    let mut sum = [0; CHECKSUM_LENGTH];
    for digit in sum.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    sum
}

/// The SHA-256 of a key. A key has 256 random bits, so that its digest does not have to be slow or salted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyDigest([u8; 32]);

impl KeyDigest {
    pub(crate) fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Parses 64 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let bytes = base16ct::mixed::decode(text, &mut digest).ok()?;
        (bytes.len() == digest.len()).then_some(Self(digest))
    }

    /// Returns the first digits, by which people distinguish keys.
    pub(crate) fn fingerprint(&self) -> String {
        base16ct::lower::encode_string(&self.0[..4])
    }
}

impl Display for KeyDigest {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&base16ct::lower::encode_string(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_key_is_recognised_and_differs_from_others() {
        let keys: Vec<_> = (0..100)
            .map(|_| AccessKey::generate().expect("key should be generated"))
            .collect();
        for key in &keys {
            assert_eq!(key.expose().len(), 52);
            let parsed = AccessKey::parse(key.expose()).expect("key should be recognised");
            assert_eq!(parsed.digest(), key.digest());
        }
        let digests: std::collections::HashSet<_> = keys.iter().map(AccessKey::digest).collect();
        assert_eq!(digests.len(), keys.len());
    }

    /// The form must not change: scanners know it, and keys are in use.
    #[test]
    fn known_key_has_its_checksum_and_digest() {
        let key = "bh_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg4NBv2J";
        let key = AccessKey::parse(key).expect("key should be recognised");
        assert_eq!(
            key.digest().to_string(),
            "adfbdb23d6dcf7392e0490b2e8e2ec70f6cc52f88e661ad003b039182d37acdb"
        );
        assert_eq!(key.digest().fingerprint(), "adfbdb23");
    }

    #[test]
    fn changed_key_is_not_recognised() {
        let key = AccessKey::generate().expect("key should be generated");
        let text = key.expose();
        for at in 0..text.len() {
            for other in ["a", "b", "_"] {
                let mut changed = text.to_owned();
                changed.replace_range(at..=at, other);
                let is_key = AccessKey::parse(&changed).is_some();
                assert_eq!(is_key, changed == text, "{at}");
            }
        }
        let longer = format!("{text}a");
        for other in ["", "bh_", &text[1..], &text[..51], &longer, "é"] {
            assert!(AccessKey::parse(other).is_none());
        }
    }

    #[test]
    fn key_is_not_shown_by_debug() {
        let key = AccessKey::generate().expect("key should be generated");
        assert_eq!(format!("{key:?}"), "AccessKey((set))");
    }

    #[test]
    fn digest_is_parsed_from_64_hexadecimal_digits() {
        let digest = KeyDigest::of(b"a key");
        let text = digest.to_string();
        assert_eq!(KeyDigest::parse(&text), Some(digest));
        assert_eq!(KeyDigest::parse(&text.to_uppercase()), Some(digest));
        for malformed in [
            "",
            &text[2..],
            &format!("{text}00"),
            &text.replace(&text[..1], "x"),
        ] {
            assert_eq!(KeyDigest::parse(malformed), None, "{malformed}");
        }
    }
}
