//! The decrypt component: opens passphrase-encrypted OpenPGP messages inside the sandbox.
//!
//! A message passes through these modules: [`armor`] finds the OpenPGP data in the text, [`survey`] reads its structure,
//! [`session`] derives session keys, [`container`] decrypts and authenticates, and [`content`](mod@content) unpacks the
//! result. The crate does no I/O and does not read a clock. Expensive arithmetic is imported ([`crypto`]). Everything
//! except the imports in [`component`] also runs natively, for tests.

mod armor;
mod component;
mod container;
mod content;
mod crypto;
mod packet;
mod rejection;
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

use armor::{Findings, Found};
use container::{Container, Plaintext};
use crypto::Crypto;
use rejection::{Limit, Limits, Opened, Rejection, too_costly, unsupported};
use session::Skesk;
use survey::Parts;

/// Opens the first message in `text` that `passphrase` decrypts.
///
/// If none is decrypted, the result is a function of the text alone as far as it is about damage: damage takes precedence
/// over a wrong passphrase, and all messages have been read to their end before the first key is derived.
fn open(
    text: Vec<u8>,
    passphrase: &[u8],
    limits: &Limits,
    crypto: &mut impl Crypto,
) -> Result<Opened, Rejection> {
    let Findings {
        found, evidence, ..
    } = armor::find(&text, limits.armor_header_bytes);
    // A message may have tens of megabytes, and memory is limited.
    drop(text);
    let mut failures = Failures::default();
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut session_key_packets = 0;
    for found in found {
        match found {
            Found::Message { bytes, trailing } => {
                if messages.contains(&bytes) {
                    continue;
                }
                let packets = match checked(&bytes, trailing) {
                    Ok(packets) => session_key_packets + packets as u64,
                    Err(rejection) => {
                        failures.add(rejection);
                        continue;
                    }
                };
                let allowed = limits.session_key_packets.into();
                if packets > allowed {
                    failures.add(too_costly(Limit::SessionKeyPackets, packets, allowed));
                    continue;
                }
                // Only accepted messages count, so that one with too many packets does not exclude the others.
                session_key_packets = packets;
                messages.push(bytes);
            }
            Found::Damaged(place) => failures.add(Rejection::Damaged(place)),
            Found::Unencrypted => failures.add(unsupported("its content is not encrypted")),
            Found::HeadersTooLong(bytes) => failures.add(too_costly(
                Limit::ArmorHeaderBytes,
                bytes as u64,
                limits.armor_header_bytes.into(),
            )),
        }
    }
    let without_line_break = [&b"\r\n"[..], b"\n", b"\r"]
        .iter()
        .find_map(|end| passphrase.strip_suffix(*end));
    for passphrase in std::iter::once(passphrase).chain(without_line_break) {
        for message in &messages {
            match decrypted(message, passphrase, limits, crypto) {
                Ok(plaintext) => {
                    return Ok(Opened {
                        is_openpgp: survey::begins_message(&plaintext),
                        plaintext,
                    });
                }
                Err(rejection) => failures.add(rejection),
            }
        }
    }
    Err(failures
        .summary()
        .unwrap_or(Rejection::NotOpenpgp(evidence.into())))
}

/// Checks everything about a message that does not need a key. Returns the number of its session-key packets.
fn checked(message: &[u8], trailing: bool) -> Result<usize, Rejection> {
    let parts = parts(message)?;
    Container::parse(content(&parts)?)?;
    if trailing {
        return Err(unsupported("further packets follow the encrypted data"));
    }
    if parts.skesks.is_empty() {
        return Err(unsupported(if parts.pkesks > 0 {
            "it is encrypted to public keys only, not with a passphrase"
        } else {
            "it has no session-key packet, so it cannot be decrypted with a passphrase"
        }));
    }
    Ok(parts.skesks.len() + parts.pkesks)
}

fn parts(message: &[u8]) -> Result<Parts<'_>, Rejection> {
    // The message was found because its structure is complete.
    survey::parts(message).map_err(|_| unsupported("one of its packets is malformed"))
}

fn content<'a>(parts: &'a Parts<'_>) -> Result<&'a packet::Packet<'a>, Rejection> {
    parts
        .content
        .as_ref()
        .ok_or_else(|| unsupported("it contains session keys but no encrypted data"))
}

/// Returns the plaintext of one message.
///
/// Keys are wiped when they are dropped. Plaintext is not, because the whole memory of the instance is reset after the
/// response.
fn decrypted(
    message: &[u8],
    passphrase: &[u8],
    limits: &Limits,
    crypto: &mut impl Crypto,
) -> Result<Vec<u8>, Rejection> {
    let parts = parts(message)?;
    let content = content(&parts)?;
    let container = Container::parse(content)?;
    let plain = first_authentic(&parts.skesks, &container, passphrase, crypto)?;
    content::literal(plain, content.body.len(), limits)
}

/// Tries each session key until the container is authentic under one of them. A plausible key alone is not sufficient: a
/// wrong passphrase gives a plausible key of version 4 in about one of 25 cases.
fn first_authentic(
    skesks: &[std::borrow::Cow<'_, [u8]>],
    container: &Container<'_>,
    passphrase: &[u8],
    crypto: &mut impl Crypto,
) -> Result<Plaintext, Rejection> {
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
            Ok(None) => failures.add(Rejection::Undecryptable),
            Err(rejection) => failures.add(rejection),
        }
    }
    Err(failures.summary().unwrap_or(Rejection::Undecryptable))
}

/// The reasons for which messages or their session keys failed.
#[derive(Default)]
struct Failures {
    damaged: Option<String>,
    too_costly: Option<rejection::Excess>,
    wrong_key: bool,
    unsupported: Option<String>,
}

impl Failures {
    fn add(&mut self, rejection: Rejection) {
        match rejection {
            Rejection::Damaged(place) => {
                self.damaged.get_or_insert(place);
            }
            Rejection::TooCostly(excess) => self.too_costly = Some(excess),
            Rejection::Undecryptable => self.wrong_key = true,
            Rejection::Unsupported(reason) => {
                self.unsupported.get_or_insert(reason);
            }
            Rejection::NotOpenpgp(_) => {}
        }
    }

    /// Combines the reasons into one. Damage comes first, so that it does not depend on a key. A key that was too costly
    /// comes next, because the passphrase may have been right for it. A wrong key comes before an unsupported one.
    fn summary(self) -> Option<Rejection> {
        let wrong_key = self.wrong_key.then_some(Rejection::Undecryptable);
        self.damaged
            .map(Rejection::Damaged)
            .or(self.too_costly.map(Rejection::TooCostly))
            .or(wrong_key)
            .or(self.unsupported.map(Rejection::Unsupported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::AeadResult;
    use bulkhead_crypto::{AeadMode, Cipher, Hash};
    use zeroize::Zeroizing;

    const SAMPLE: &str = include_str!("sample.asc");
    /// The session-key packet of the sample in base64.
    const SESSION_KEY: &str = "jA0ECQMCVady3RUyJw3X";

    /// Counts derivations of keys, and never returns a key.
    #[derive(Default)]
    struct Counting(usize);

    impl Crypto for Counting {
        fn s2k(
            &mut self,
            _hash: Hash,
            _salt: &[u8],
            _passphrase: &[u8],
            _count: u32,
            _key_len: usize,
        ) -> Result<Zeroizing<Vec<u8>>, Rejection> {
            self.0 += 1;
            Err(Rejection::Undecryptable)
        }

        fn argon2id(
            &mut self,
            _salt: &[u8],
            _passphrase: &[u8],
            _passes: u8,
            _lanes: u8,
            _memory_kib: u32,
            _key_len: usize,
        ) -> Result<Zeroizing<Vec<u8>>, Rejection> {
            unreachable!("the sample does not use Argon2")
        }

        fn cfb_decrypt(&mut self, _cipher: Cipher, _key: &[u8], _data: &[u8]) -> Option<Vec<u8>> {
            unreachable!("there is no key")
        }

        fn aead_open(
            &mut self,
            _mode: AeadMode,
            _cipher: Cipher,
            _key: &[u8],
            _nonce: &[u8],
            _associated: &[u8],
            _sealed: &[u8],
        ) -> AeadResult {
            unreachable!("there is no key")
        }

        fn sha1(&mut self, _data: &[u8]) -> Vec<u8> {
            unreachable!("there is no key")
        }
    }

    /// Returns the derivations for a text, and the number of packets that was too large.
    fn derivations(text: &str, session_key_packets: u32) -> (usize, Option<u64>) {
        let limits = Limits {
            plaintext_bytes: 1024,
            compression_layers: 4,
            compression_ratio: 1024,
            session_key_packets,
            armor_header_bytes: 1024,
        };
        let mut crypto = Counting::default();
        let opened = open(
            text.as_bytes().to_vec(),
            b"passphrase",
            &limits,
            &mut crypto,
        );
        let excess = match opened {
            Err(Rejection::TooCostly(excess)) => Some(excess.requested),
            Err(Rejection::Undecryptable) => None,
            other => panic!("unexpected result {other:?}"),
        };
        (crypto.0, excess)
    }

    #[test]
    fn message_over_the_limit_of_session_keys_does_not_count() {
        let three = SAMPLE.replace(SESSION_KEY, &format!("{SESSION_KEY}\n").repeat(3));
        let three = three.replace(&format!("{SESSION_KEY}\n0"), &format!("{SESSION_KEY}0"));
        assert_eq!(derivations(SAMPLE, 2), (1, None));
        assert_eq!(derivations(&three, 3), (3, None));
        for text in [[&three, SAMPLE].concat(), [SAMPLE, &three].concat()] {
            assert_eq!(derivations(&text, 2).0, 1, "{text}");
            assert!(derivations(&text, 2).1.is_some(), "{text}");
        }
        let other = SAMPLE.replace("pEoI2S82", "pEoI2S83");
        let third = SAMPLE.replace("pEoI2S82", "pEoI2S84");
        let all = [SAMPLE, &other, &third].concat();
        assert_eq!(derivations(&all, 2), (2, Some(3)));
    }
}
