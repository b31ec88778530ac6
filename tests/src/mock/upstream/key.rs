//! The signing key of the mock upstream. It is public.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha2::{Digest as _, Sha256};

/// Encodes with padding, like Python's `urlsafe_b64encode`. Decodes with or without padding.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The public key of all signatures, in PEM.
pub const PUBLIC_KEY: &str = include_str!("public-key.pem");

/// RSA with 2048 bits, PKCS #1 v1.5 and SHA-256. The key was made for these tests with `openssl
/// genpkey`.
pub(crate) struct SigningKey {
    private: RsaPrivateKey,
    public: RsaPublicKey,
}

impl SigningKey {
    pub(crate) fn new() -> Self {
        let private = RsaPrivateKey::from_pkcs8_pem(include_str!("private-key.pem"))
            .expect("private-key.pem should be a key");
        let public = private.to_public_key();
        Self { private, public }
    }

    pub(crate) fn sign(&self, message: &str) -> String {
        let hashed = Sha256::digest(message);
        let signature = self.private.sign(Pkcs1v15Sign::new::<Sha256>(), &hashed);
        BASE64URL.encode(signature.expect("key should be long enough for the hash"))
    }

    pub(crate) fn verifies(&self, message: &str, signature: &str) -> bool {
        let hashed = Sha256::digest(message);
        BASE64URL.decode(signature).is_ok_and(|bytes| {
            let scheme = Pkcs1v15Sign::new::<Sha256>();
            self.public.verify(scheme, &hashed, &bytes).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsa::pkcs8::DecodePublicKey as _;

    #[test]
    fn published_key_belongs_to_the_signing_key() {
        let published = RsaPublicKey::from_public_key_pem(PUBLIC_KEY).expect("key should be valid");
        assert_eq!(published, SigningKey::new().public);
    }

    #[test]
    fn only_the_right_signature_verifies() {
        let key = SigningKey::new();
        let signature = key.sign("a message");
        assert_eq!(signature.len(), 344);
        assert!(key.verifies("a message", &signature));
        assert!(key.verifies("a message", signature.trim_end_matches('=')));
        for (message, signature) in [
            ("another", signature.as_str()),
            ("a message", &signature[4..]),
            ("a message", "no base64!"),
            ("a message", ""),
        ] {
            assert!(!key.verifies(message, signature));
        }
    }
}
