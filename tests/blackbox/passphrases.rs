//! Messages with several passphrases, made by rpgp in large numbers.
//!
//! A session key of version 4 has no integrity protection: with a wrong passphrase, about one in 25
//! decrypts to a plausible key. An implementation that uses the first plausible key fails for these
//! messages, so that only a large number of them can show that Bulkhead does not.

use bulkhead_tests::server::Server;
use pgp::composed::MessageBuilder;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::types::StringToKey;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

const MESSAGES: u64 = 500;
const MESSAGES_SOAK: u64 = 20_000;

#[test]
fn every_message_opens_with_either_passphrase() {
    let soak = bulkhead_tests::soak();
    for seed in 0..if soak { MESSAGES_SOAK } else { MESSAGES } {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut builder = MessageBuilder::from_bytes("", format!("text {seed}").into_bytes())
            .seipd_v1(&mut rng, SymmetricKeyAlgorithm::AES128);
        for passphrase in ["first", "second"] {
            let s2k = StringToKey::new_iterated(&mut rng, HashAlgorithm::Sha256, 0);
            builder
                .encrypt_with_password(s2k, &passphrase.into())
                .expect("rpgp should accept the passphrase");
        }
        let message = builder
            .to_armored_string(&mut rng, pgp::composed::ArmorOptions::default())
            .expect("rpgp should write the message");
        for passphrase in ["first", "second"] {
            let response = Server::shared().decrypt(passphrase, &message);
            assert_eq!(
                response.json()["DecryptedMessage"],
                format!("text {seed}"),
                "seed {seed}, {passphrase}"
            );
        }
        assert_eq!(
            Server::shared().decrypt("third", &message).problem(),
            "undecryptable"
        );
    }
}
