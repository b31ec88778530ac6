//! RSA signatures under a public key (RFC 8017 section 8).

use crate::bindings::exports::bulkhead::signing::upstream::Claim;
use crate::signature;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::{PublicKeyParts as _, SignatureScheme};
use rsa::{Pkcs1v15Sign, Pss, RsaPublicKey};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// Whether the claim is true. Which padding and hash the upstream uses it does not say: all of them
/// are tried.
pub(crate) fn verify(claim: &Claim, public_key: &str) -> Result<bool, String> {
    let key = RsaPublicKey::from_public_key_pem(public_key)
        .or_else(|_| RsaPublicKey::from_pkcs1_pem(public_key))
        .map_err(|_| {
            "not an RSA public key in PEM (BEGIN PUBLIC KEY or BEGIN RSA PUBLIC KEY)".to_owned()
        })?;
    let Some(signature) = signature::decode(&claim.signature) else {
        return Ok(false);
    };
    let message = claim.message.as_bytes();
    let verified = any_padding_verifies(
        &key,
        &Sha256::digest(message),
        &signature,
        Padding::of::<Sha256>,
    ) || any_padding_verifies(
        &key,
        &Sha384::digest(message),
        &signature,
        Padding::of::<Sha384>,
    ) || any_padding_verifies(
        &key,
        &Sha512::digest(message),
        &signature,
        Padding::of::<Sha512>,
    );
    Ok(verified)
}

/// The paddings of one hash.
struct Padding {
    pkcs1: Pkcs1v15Sign,
    /// Salt as long as the hash (the usual choice), and as long as fits (OpenSSL's and Python's).
    pss: [Pss; 2],
}

impl Padding {
    fn of<D>(key: &RsaPublicKey) -> Self
    where
        D: Digest
            + rsa::pkcs8::AssociatedOid
            + rsa::signature::digest::DynDigest
            + Send
            + Sync
            + 'static,
        D: Clone,
    {
        let hash = <D as Digest>::output_size();
        // RFC 8017 section 9.1.1: emLen - hLen - 2, with emLen for modBits - 1.
        let encoded = (key.n().bits() - 1).div_ceil(8);
        let max = encoded.saturating_sub(hash + 2);
        Self {
            pkcs1: Pkcs1v15Sign::new::<D>(),
            pss: [hash, max].map(Pss::new_with_salt::<D>),
        }
    }
}

fn any_padding_verifies(
    key: &RsaPublicKey,
    hashed: &[u8],
    signature: &[u8],
    padding: impl FnOnce(&RsaPublicKey) -> Padding,
) -> bool {
    let padding = padding(key);
    let [usual, max] = padding.pss;
    padding.pkcs1.verify(key, hashed, signature).is_ok()
        || usual.verify(key, hashed, signature).is_ok()
        || max.verify(key, hashed, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC_KEY: &str = include_str!("verifier/public-key.pem");
    const RSA_PUBLIC_KEY: &str = include_str!("verifier/rsa-public-key.pem");
    const MESSAGE: &str = "what do ya want for nothing?";

    /// By OpenSSL 3.0: `openssl dgst -sign` with each padding, salt and hash, for a new key of 2048 bits.
    fn signatures() -> Vec<(&'static str, String)> {
        let lines = include_str!("verifier/signatures.txt").lines();
        lines
            .map(|line| line.split_once(' ').expect("a name and a signature"))
            .map(|(name, signature)| (name, signature.to_owned()))
            .collect()
    }

    fn verified(message: &str, signature: String, key: &str) -> Result<bool, String> {
        let message = message.to_owned();
        verify(&Claim { message, signature }, key)
    }

    #[test]
    fn every_padding_and_hash_of_openssl() {
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
    fn altered_signatures_are_wrong_ones() {
        use base64::Engine as _;
        let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE.encode(bytes);
        for (name, signature) in signatures() {
            let bytes = signature::decode(&signature).expect("base64");
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
    fn what_is_no_key_is_told() {
        for key in [
            "",
            "key",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            assert!(verified(MESSAGE, String::new(), key).is_err(), "{key}");
        }
    }
}
