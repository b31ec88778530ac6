//! The decrypt component: opens passphrase-encrypted OpenPGP messages inside the sandbox.
//!
//! The way of a message: [`armor`] finds the bytes in the text, [`survey`] takes the packet
//! sequence apart, [`session`] derives session keys, [`container`] decrypts and authenticates,
//! [`content`] unpacks what is inside. Nothing here does I/O or reads a clock; expensive
//! arithmetic is imported ([`crypto`]). All but the last step of the glue in [`component`] runs
//! natively too, for tests.

mod armor;
mod component;
mod container;
mod content;
mod crypto;
mod packet;
mod refusal;
mod session;
mod survey;

#[expect(clippy::pedantic, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/component", "../../wit/crypto", "../../wit/decrypt"],
        world: "bulkhead:decrypt/decrypt",
        generate_all,
        additional_derives: [PartialEq, Eq],
        export_macro_name: "export",
    });
}

use container::{Container, Plaintext};
use crypto::Crypto;
use refusal::{Limit, Limits, Refusal, too_costly, unsupported};
use session::Skesk;

/// Opens the message in `text`.
fn open(
    text: Vec<u8>,
    passphrase: &str,
    limits: &Limits,
    crypto: &mut impl Crypto,
) -> Result<Vec<u8>, Refusal> {
    let message = armor::dearmor(&text, limits.armor_header_octets)?;
    // A message may be tens of megabytes; what is not needed any more makes room.
    drop(text);
    let parts = survey::parts(&message).map_err(|_| Refusal::Undecryptable)?;
    let Some(content) = &parts.content else {
        return Err(unsupported("it holds session keys but no encrypted data"));
    };
    let container = Container::parse(content)?;
    if parts.trailing {
        return Err(unsupported("further packets follow the encrypted data"));
    }
    if parts.skesks.is_empty() {
        return Err(unsupported(if parts.pkesks > 0 {
            "it is encrypted to public keys only, not with a passphrase"
        } else {
            "it has no session-key packet, so that no passphrase belongs to it"
        }));
    }
    let (asked, allowed) = (
        parts.skesks.len() + parts.pkesks,
        limits.session_key_packets,
    );
    if asked as u64 > u64::from(allowed) {
        return Err(too_costly(
            Limit::SessionKeyPackets,
            asked as u64,
            allowed.into(),
        ));
    }
    // Keys are wiped where they are dropped; plaintext is not, byte by byte, since the whole memory
    // of the instance is reset right after the answer.
    let plain = first_authentic(&parts.skesks, &container, passphrase, crypto)?;
    content::literal(plain, content.body.len(), limits)
}

/// Tries each session key by itself until the container is authentic under one. The first
/// plausible key is not good enough: a wrong passphrase makes a plausible version 4 key in one of
/// about 25 tries.
fn first_authentic(
    skesks: &[std::borrow::Cow<'_, [u8]>],
    container: &Container<'_>,
    passphrase: &str,
    crypto: &mut impl Crypto,
) -> Result<Plaintext, Refusal> {
    let mut failures = Failures::default();
    for body in skesks {
        let tried = Skesk::parse(body)
            .and_then(|skesk| skesk.open(passphrase, crypto))
            .and_then(|key| match key {
                Some(key) if container.accepts(&key) => container.open(&key, crypto),
                _ => Ok(None),
            });
        match tried {
            Ok(Some(plain)) => return Ok(plain),
            Ok(None) => failures.wrong_key = true,
            Err(Refusal::TooCostly(excess)) => failures.too_costly = Some(excess),
            Err(other) => failures.other = Some(other),
        }
    }
    Err(failures.summary())
}

/// Why none of several session keys served.
#[derive(Default)]
struct Failures {
    too_costly: Option<refusal::Excess>,
    wrong_key: bool,
    other: Option<Refusal>,
}

impl Failures {
    /// What was too costly may have been the one with the right passphrase, so that comes first;
    /// then the plain case; what is unsupported only if nothing else was there.
    fn summary(self) -> Refusal {
        match (self.too_costly, self.wrong_key, self.other) {
            (Some(excess), _, _) => Refusal::TooCostly(excess),
            (None, false, Some(other)) => other,
            (None, _, _) => Refusal::Undecryptable,
        }
    }
}
