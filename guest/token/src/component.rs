//! The exports of the component.

use crate::bindings::exports::bulkhead::component::about;
use crate::bindings::exports::bulkhead::token::authenticator::{Algorithm, Guest};
use crate::mac;
use alloc::string::String;
use alloc::vec::Vec;

struct Component;

#[expect(
    unsafe_code,
    reason = "exported functions have fixed names, which Rust calls unsafe"
)]
mod exports {
    crate::bindings::export!(Component with_types_in crate::bindings);
    use super::Component;
}

impl Guest for Component {
    fn make(algorithm: Algorithm, secret: Vec<u8>, body: Vec<u8>) -> String {
        mac::make(algorithm, &secret, &body)
    }

    fn verify(algorithm: Algorithm, secrets: Vec<Vec<u8>>, body: Vec<u8>, token: String) -> bool {
        mac::verify(algorithm, &secrets, &body, &token)
    }
}

impl about::Guest for Component {
    fn describe() -> about::Description {
        about::Description {
            name: "token".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Makes and checks HMAC tokens (RFC 2104)".into(),
        }
    }

    /// Checks the known answers of RFC 4231 section 4.3 and RFC 2202 section 3, test case 2.
    fn self_test() -> Result<(), String> {
        const SECRET: &[u8] = b"Jefe";
        const BODY: &[u8] = b"what do ya want for nothing?";
        const SHA256: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        const SHA1: &str = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
        for (algorithm, expected) in [(Algorithm::Sha256, SHA256), (Algorithm::Sha1, SHA1)] {
            if mac::make(algorithm, SECRET, BODY) != expected {
                return Err("a known token is computed incorrectly".into());
            }
        }
        if mac::verify(
            Algorithm::Sha256,
            &[b"Jefe".to_vec()],
            b"another body",
            SHA256,
        ) {
            return Err("an invalid token is accepted".into());
        }
        Ok(())
    }
}
