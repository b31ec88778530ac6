//! RSA signatures under a public key (RFC 8017 section 8).

use crate::bindings::exports::bulkhead::signing::upstream::SignedMessage;
use crate::signature;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::pkcs8::{AssociatedOid, DecodePublicKey as _};
use rsa::signature::digest::DynDigest;
use rsa::traits::{PublicKeyParts as _, SignatureScheme};
use rsa::{Pkcs1v15Sign, Pss, RsaPublicKey};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// The public key is not an RSA key in PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "give a whole RSA public key in PEM (BEGIN PUBLIC KEY or BEGIN RSA PUBLIC KEY), with its line \
     breaks"
)]
pub(crate) struct InvalidKey;

/// Returns whether the signature fits the message. The upstream does not name its padding and hash, so all
/// supported ones are tried.
pub(crate) fn verify(signed: &SignedMessage, public_key: &str) -> Result<bool, InvalidKey> {
    let key = RsaPublicKey::from_public_key_pem(public_key)
        .or_else(|_| RsaPublicKey::from_pkcs1_pem(public_key))
        .map_err(|_| InvalidKey)?;
    let Some(signature) = signature::decode(&signed.signature) else {
        return Ok(false);
    };
    let message = signed.message.as_bytes();
    Ok(verifies::<Sha256>(&key, message, &signature)
        || verifies::<Sha384>(&key, message, &signature)
        || verifies::<Sha512>(&key, message, &signature))
}

/// Tries the paddings with one hash algorithm: PKCS#1 v1.5, PSS with a salt as long as the hash, which is usual, and PSS
/// with the longest salt, which OpenSSL and Python use.
fn verifies<D>(key: &RsaPublicKey, message: &[u8], signature: &[u8]) -> bool
where
    D: Digest + AssociatedOid + DynDigest + Clone + Send + Sync + 'static,
{
    let hashed = <D as Digest>::digest(message);
    // RFC 8017 section 9.1.1: emLen - hLen - 2, with emLen for modBits - 1.
    let encoded_len = (key.n().bits() - 1).div_ceil(8);
    let salt_len_max = encoded_len.saturating_sub(hashed.len() + 2);
    Pkcs1v15Sign::new::<D>()
        .verify(key, &hashed, signature)
        .is_ok()
        || [hashed.len(), salt_len_max].into_iter().any(|salt_len| {
            let scheme = Pss::new_with_salt::<D>(salt_len);
            scheme.verify(key, &hashed, signature).is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC_KEY: &str = include_str!("verifier/public-key.pem");
    const RSA_PUBLIC_KEY: &str = include_str!("verifier/rsa-public-key.pem");
    const MESSAGE: &str = "what do ya want for nothing?";

    /// Signatures made by `openssl dgst -sign` of OpenSSL 3.0 with each padding, salt and hash, under a key of 2048 bits.
    fn signatures() -> Vec<(&'static str, String)> {
        let lines = include_str!("verifier/signatures.txt").lines();
        lines
            .map(|line| {
                line.split_once(' ')
                    .expect("a line has a name and a signature")
            })
            .map(|(name, signature)| (name, signature.to_owned()))
            .collect()
    }

    fn verified(message: &str, signature: String, key: &str) -> Result<bool, InvalidKey> {
        let message = message.to_owned();
        verify(&SignedMessage { message, signature }, key)
    }

    #[test]
    fn every_padding_and_hash_of_openssl_is_verified() {
        assert_eq!(signatures().len(), 9);
        for (name, signature) in signatures() {
            for key in [PUBLIC_KEY, RSA_PUBLIC_KEY] {
                assert_eq!(
                    verified(MESSAGE, signature.clone(), key),
                    Ok(true),
                    "{name}"
                );
                assert_eq!(
                    verified("another", signature.clone(), key),
                    Ok(false),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn altered_signature_is_invalid() {
        use base64::Engine as _;
        let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE.encode(bytes);
        for (name, signature) in signatures() {
            let bytes = signature::decode(&signature).expect("the signature should be base64");
            for at in (0..bytes.len()).step_by(37) {
                let mut altered = bytes.clone();
                altered[at] ^= 1;
                assert_eq!(
                    verified(MESSAGE, encode(&altered), PUBLIC_KEY),
                    Ok(false),
                    "{name} {at}"
                );
            }
            for cut in [&bytes[1..], &bytes[..bytes.len() - 1], &[]] {
                assert_eq!(
                    verified(MESSAGE, encode(cut), PUBLIC_KEY),
                    Ok(false),
                    "{name}"
                );
            }
        }
        assert_eq!(
            verified(MESSAGE, "not base64!".into(), PUBLIC_KEY),
            Ok(false)
        );
    }

    #[test]
    fn invalid_public_key_is_an_error() {
        for key in [
            "",
            "key",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            assert!(verified(MESSAGE, String::new(), key).is_err(), "{key}");
        }
    }
}
