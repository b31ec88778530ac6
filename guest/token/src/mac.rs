//! Makes and verifies tokens (HMAC, RFC 2104).

use crate::bindings::exports::bulkhead::token::authenticator::Algorithm;
use alloc::string::String;
use alloc::vec::Vec;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// Returns the HMAC of `body` under `secret` in lowercase hexadecimal.
pub(crate) fn make(algorithm: Algorithm, secret: &[u8], body: &[u8]) -> String {
    let code = match algorithm {
        Algorithm::Sha1 => computed::<Hmac<Sha1>>(secret, body),
        Algorithm::Sha256 => computed::<Hmac<Sha256>>(secret, body),
        Algorithm::Sha384 => computed::<Hmac<Sha384>>(secret, body),
        Algorithm::Sha512 => computed::<Hmac<Sha512>>(secret, body),
    };
    base16ct::lower::encode_string(&code)
}

/// Returns whether `token` is the HMAC of `body` under one of `secrets`. Every secret is tried, so that the time does not
/// depend on which one fits.
pub(crate) fn verify(algorithm: Algorithm, secrets: &[Vec<u8>], body: &[u8], token: &str) -> bool {
    let Ok(token) = base16ct::mixed::decode_vec(token) else {
        return false;
    };
    let mut valid = false;
    for secret in secrets {
        valid |= match algorithm {
            Algorithm::Sha1 => verified::<Hmac<Sha1>>(secret, body, &token),
            Algorithm::Sha256 => verified::<Hmac<Sha256>>(secret, body, &token),
            Algorithm::Sha384 => verified::<Hmac<Sha384>>(secret, body, &token),
            Algorithm::Sha512 => verified::<Hmac<Sha512>>(secret, body, &token),
        };
    }
    valid
}

fn computed<M: Mac + KeyInit>(secret: &[u8], body: &[u8]) -> Vec<u8> {
    mac::<M>(secret, body).finalize().into_bytes().to_vec()
}

/// Compares in a time that depends only on the length of `token`.
fn verified<M: Mac + KeyInit>(secret: &[u8], body: &[u8], token: &[u8]) -> bool {
    mac::<M>(secret, body).verify_slice(token).is_ok()
}

fn mac<M: Mac + KeyInit>(secret: &[u8], body: &[u8]) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(secret).expect("HMAC accepts keys of any length");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Algorithm; 4] = [
        Algorithm::Sha1,
        Algorithm::Sha256,
        Algorithm::Sha384,
        Algorithm::Sha512,
    ];

    /// Secrets and bodies of RFC 4231 sections 4.2 to 4.8, except the truncated one of 4.6, and the first bytes of the
    /// HMACs.
    #[test]
    fn known_answers_of_rfc_4231() {
        let cases: [(Vec<u8>, &[u8], [&str; 3]); 6] = [
            (
                vec![0x0b; 20],
                b"Hi There",
                ["b0344c61d8db38535ca8afceaf0bf12b", "afd03944d84895626b0825f4ab46907f", "87aa7cdea5ef619d4ff0b4241a1d6cb0"],
            ),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?",
                ["5bdcc146bf60754e6a042426089575c7", "af45d2e376484031617f78d2b58a6b1b", "164b7a7bfcf819e2e395fbe73b56e0a3"],
            ),
            (
                vec![0xaa; 20],
                &[0xdd; 50],
                ["773ea91e36800e46854db8ebd09181a7", "88062608d3e6ad8a0aa2ace014c8a86f", "fa73b0089d56a284efb0f0756c890be9"],
            ),
            (
                (1..=25).collect(),
                &[0xcd; 50],
                ["82558a389a443c0ea4cc819899f2083a", "3e8a69b7783c25851933ab6290af6ca7", "b0ba465637458c6990e5a8c5f61d4af7"],
            ),
            (
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                ["60e431591ee0b67f0d8a26aacbf5b77f", "4ece084485813e9088d2c63a041bc5b4", "80b24263c7c1a3ebb71493c1dd7be8b4"],
            ),
            (
                vec![0xaa; 131],
                b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
                ["9b09ffa71b942fcb27635fbcd5b0e944", "6617178e941f020d351e2f254e8fd32c", "e37b6a775dc87dbaa4dfa9f96e5e3ffd"],
            ),
        ];
        for (secret, body, answers) in cases {
            for (algorithm, answer) in ALL[1..].iter().zip(answers) {
                let token = make(*algorithm, &secret, body);
                assert!(token.starts_with(answer), "{algorithm:?}: {token}");
                assert!(verify(
                    *algorithm,
                    std::slice::from_ref(&secret),
                    body,
                    &token
                ));
            }
        }
    }

    /// RFC 2202 section 3, test cases 1, 2 and 6.
    #[test]
    fn known_answers_of_rfc_2202() {
        for (secret, body, answer) in [
            (
                vec![0x0b; 20],
                &b"Hi There"[..],
                "b617318655057264e28bc0b6fb378c8ef146be00",
            ),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?",
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            (
                vec![0xaa; 80],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "aa4ae5e15272d00e95705637ce8a3b55ed402112",
            ),
        ] {
            assert_eq!(make(Algorithm::Sha1, &secret, body), answer);
        }
    }

    #[test]
    fn other_text_is_not_a_valid_token() {
        let secrets = [b"secret".to_vec()];
        let token = make(Algorithm::Sha256, b"secret", b"body");
        let cut = &token[..62];
        for wrong in [
            "",
            "00",
            "no hexadecimal",
            cut,
            &(token.clone() + "00"),
            &token.replace('a', "b"),
        ] {
            assert!(
                !verify(Algorithm::Sha256, &secrets, b"body", wrong),
                "{wrong}"
            );
        }
        assert!(verify(
            Algorithm::Sha256,
            &secrets,
            b"body",
            &token.to_uppercase()
        ));
        assert!(!verify(Algorithm::Sha256, &[], b"body", &token));
    }

    proptest! {
        #[test]
        fn either_of_two_secrets_is_good_enough(
            algorithm in proptest::sample::select(&ALL[..]),
            first: Vec<u8>,
            second: Vec<u8>,
            body: Vec<u8>,
            flip: proptest::sample::Index,
        ) {
            let secrets = [first, second];
            for secret in &secrets {
                let token = make(algorithm, secret, &body);
                prop_assert!(verify(algorithm, &secrets, &body, &token));
                let mut other = body.clone();
                other.push(0);
                prop_assert!(!verify(algorithm, &secrets, &other, &token));
                let mut altered = base16ct::lower::decode_vec(&token).expect("hexadecimal");
                let bit = flip.index(altered.len() * 8);
                altered[bit / 8] ^= 1 << (bit % 8);
                let altered = base16ct::lower::encode_string(&altered);
                prop_assert!(!verify(algorithm, &secrets, &body, &altered));
            }
        }
    }
}
