//! The host's interface to token components.

use crate::World;
use crate::admission::{GuestComponent, KnownAnswerError};
use crate::fault::Fault;
use crate::linked::Linked;
use crate::rejection::Rejection;

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit/component", "../../wit/token"],
        world: "bulkhead:token/token",
    });
}

use bindings::exports::bulkhead::token::authenticator;

pub use authenticator::Algorithm;

/// A token component that is linked and can be called.
///
/// Each call runs in a fresh instance and blocks until the instance ends, at most for the time limit of the
/// component. Several threads may call at the same time.
pub struct Authenticator {
    linked: Linked,
    tokens: authenticator::GuestIndices,
}

impl Authenticator {
    /// Returns the token of `body`, which is the HMAC (RFC 2104) in lowercase hexadecimal, computed in a fresh instance. Blocks for about
    /// 10 µs, and 5 µs more per KiB of the body.
    ///
    /// # Errors
    /// [`Fault`] if the instance ends without a result.
    pub fn make(&self, algorithm: Algorithm, secret: &[u8], body: &[u8]) -> Result<String, Fault> {
        self.linked
            .call(self.linked.budget(), 0, |store, instance| {
                let authenticator = self.tokens.load(&mut *store, instance)?;
                authenticator.call_make(store, algorithm, secret, body)
            })
    }

    /// Returns whether `token` is that of `body` under one of `secrets`. Hexadecimal digits may be upper or lower case.
    /// A token that is not hexadecimal, and an empty list of secrets, result in `false`.
    ///
    /// The contract demands that the time depends on lengths only, which the host cannot check. Blocks about as long as
    /// [`Self::make`] for each secret.
    ///
    /// # Errors
    /// [`Fault`] if the instance ends without a result.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        secrets: &[&[u8]],
        body: &[u8],
        token: &str,
    ) -> Result<bool, Fault> {
        let secrets: Vec<_> = secrets.iter().map(|secret| secret.to_vec()).collect();
        let secrets = zeroize::Zeroizing::new(secrets);
        self.linked
            .call(self.linked.budget(), 0, |store, instance| {
                let authenticator = self.tokens.load(&mut *store, instance)?;
                authenticator.call_verify(store, algorithm, &secrets, body, token)
            })
    }
}

impl GuestComponent for Authenticator {
    const WORLD: World = World::Token;

    fn from_linked(linked: Linked) -> Result<Self, Rejection> {
        Ok(Self {
            tokens: linked.find(authenticator::GuestIndices::new)?,
            linked,
        })
    }

    fn linked(&self) -> &Linked {
        &self.linked
    }

    /// Test case 2 of RFC 2202 section 3 and RFC 4231 section 4.3.
    fn known_answers(&self) -> Result<(), KnownAnswerError> {
        const SECRET: &[u8] = b"Jefe";
        const BODY: &[u8] = b"what do ya want for nothing?";
        let wrong = |fault: String| Err(KnownAnswerError::Wrong(fault));
        for (algorithm, name, expected) in [
            (
                Algorithm::Sha1,
                "SHA-1",
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            (
                Algorithm::Sha256,
                "SHA-256",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Algorithm::Sha384,
                "SHA-384",
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
                 8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Algorithm::Sha512,
                "SHA-512",
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            if self.make(algorithm, SECRET, BODY)? != expected {
                return wrong(format!(
                    "the HMAC-{name} token of a test case in RFC 2202 or RFC 4231 is wrong"
                ));
            }
            let upper = expected.to_uppercase();
            let verify = |secrets: &[&[u8]], body: &[u8], token: &str| {
                self.verify(algorithm, secrets, body, token)
            };
            if !verify(&[b"another", SECRET], BODY, &upper)? {
                return wrong(format!("a valid HMAC-{name} token does not verify"));
            }
            for (secrets, body, token) in [
                (&[SECRET][..], &b"another"[..], expected),
                (&[b"another"], BODY, expected),
                (&[SECRET], BODY, &expected[..16]),
                (&[SECRET], BODY, ""),
                (&[], BODY, expected),
            ] {
                if verify(secrets, body, token)? {
                    return wrong(format!("an invalid HMAC-{name} token verifies"));
                }
            }
        }
        Ok(())
    }
}
