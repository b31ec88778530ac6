//! The decrypt component: opens passphrase-encrypted OpenPGP messages inside the sandbox.
//!
//! A message passes through these modules: [`armor`] finds the OpenPGP data in the text, [`survey`] splits the packet
//! sequence, [`session`] derives session keys, [`container`] decrypts and authenticates, and [`content`] unpacks the
//! result. The crate does no I/O and does not read a clock. Expensive arithmetic is imported ([`crypto`]). Everything
//! except the imports in [`component`] also runs natively, for tests.

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

/// Opens the message in `text` and returns its plaintext.
fn open(
    text: Vec<u8>,
    passphrase: &str,
    limits: &Limits,
    crypto: &mut impl Crypto,
) -> Result<Vec<u8>, Refusal> {
    let message = armor::dearmor(&text, limits.armor_header_octets)?;
    // A message may have tens of megabytes, and memory is limited.
    drop(text);
    let parts = survey::parts(&message).map_err(|_| Refusal::Undecryptable)?;
    let Some(content) = &parts.content else {
        return Err(unsupported(
            "it contains session keys but no encrypted data",
        ));
    };
    let container = Container::parse(content)?;
    if parts.trailing {
        return Err(unsupported("further packets follow the encrypted data"));
    }
    if parts.skesks.is_empty() {
        return Err(unsupported(if parts.pkesks > 0 {
            "it is encrypted to public keys only, not with a passphrase"
        } else {
            "it has no session-key packet, so it cannot be decrypted with a passphrase"
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
    // Keys are wiped when they are dropped. Plaintext is not, because the whole memory of the instance is reset after
    // the response.
    let plain = first_authentic(&parts.skesks, &container, passphrase, crypto)?;
    content::literal(plain, content.body.len(), limits)
}

/// Tries each session key until the container is authentic under one of them. A plausible key alone is not sufficient: a
/// wrong passphrase gives a plausible key of version 4 in about one of 25 cases.
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

/// The reasons for which the session keys of a message failed.
#[derive(Default)]
struct Failures {
    too_costly: Option<refusal::Excess>,
    wrong_key: bool,
    other: Option<Refusal>,
}

impl Failures {
    /// Combines the reasons into one. A key that was too costly comes first, because the passphrase may have been right for
    /// it. A wrong key comes before an unsupported one.
    fn summary(self) -> Refusal {
        match (self.too_costly, self.wrong_key, self.other) {
            (Some(excess), _, _) => Refusal::TooCostly(excess),
            (None, false, Some(other)) => other,
            (None, _, _) => Refusal::Undecryptable,
        }
    }
}
