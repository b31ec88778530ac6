//! Comparison with rpgp, which shares neither code nor crate versions with this crate.

use crate::{
    AeadMode, Argon2id, Cipher, Hash, Interrupted, S2k, aead_open, cfb_decrypt, decode_count,
};
use pgp::bytes::BytesMut;
use pgp::crypto::aead::AeadAlgorithm;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::types::StringToKey;
use proptest::prelude::*;
use proptest::sample::select;

fn rpgp_hash(hash: Hash) -> HashAlgorithm {
    (hash as u8).into()
}

fn rpgp_cipher(cipher: Cipher) -> SymmetricKeyAlgorithm {
    (cipher as u8).into()
}

/// Generates short and long passphrases, among them the empty one and some that are longer than the smallest counts.
fn passphrase() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..100),
        proptest::collection::vec(any::<u8>(), 1_000..10_000),
    ]
}

proptest! {
    #[test]
    fn iterated_s2k_equals_rpgp(
        hash in select(&Hash::ALL[..]),
        salt: [u8; 8],
        passphrase in passphrase(),
        count in 0_u8..0x80,
        key_len in 0_usize..=64,
    ) {
        let theirs = StringToKey::IteratedAndSalted { hash_alg: rpgp_hash(hash), salt, count }
            .derive_key(&passphrase, key_len)
            .expect("rpgp should support the hash");
        let ours = S2k::new(hash, &salt, &passphrase, decode_count(count), key_len)
            .expect("key_len is within the maximum");
        prop_assert_eq!(&ours.derive(&mut || true).expect("nothing should interrupt the derivation")[..], theirs.as_ref());
    }

    #[test]
    fn salted_and_simple_s2k_equal_rpgp(
        hash in select(&Hash::ALL[..]),
        salt: [u8; 8],
        passphrase in passphrase(),
        key_len in 0_usize..=64,
    ) {
        let hash_alg = rpgp_hash(hash);
        for (theirs, salt) in [
            (StringToKey::Salted { hash_alg, salt }, &salt[..]),
            (StringToKey::Simple { hash_alg }, &[][..]),
        ] {
            let theirs = theirs.derive_key(&passphrase, key_len).expect("rpgp should support the hash");
            let ours = S2k::new(hash, salt, &passphrase, 0, key_len).expect("key_len is within the maximum");
            prop_assert_eq!(&ours.derive(&mut || true).expect("nothing should interrupt the derivation")[..], theirs.as_ref());
        }
    }

    #[test]
    fn argon2id_equals_rpgp(
        salt: [u8; 16],
        passphrase in proptest::collection::vec(any::<u8>(), 0..100),
        passes in 1_u8..4,
        lanes in 1_u8..4,
        memory_exponent in 5_u8..10,
        key_len in select(&[16_usize, 24, 32][..]),
    ) {
        let theirs = StringToKey::Argon2 { salt, t: passes, p: lanes, m_enc: memory_exponent }
            .derive_key(&passphrase, key_len)
            .expect("the parameters should be valid");
        let ours = Argon2id { passes, lanes, memory_kib: 1 << memory_exponent }
            .derive(&salt, &passphrase, key_len)
            .expect("the parameters should be valid");
        prop_assert_eq!(&ours[..], theirs.as_ref());
    }

    #[test]
    fn cfb_decrypts_the_ciphertext_of_rpgp(
        cipher in select(&Cipher::ALL[..]),
        key in proptest::collection::vec(any::<u8>(), 32),
        plain in proptest::collection::vec(any::<u8>(), 0..500),
    ) {
        let key = &key[..cipher.key_len()];
        let mut data = plain.clone();
        rpgp_cipher(cipher)
            .encrypt_with_iv_regular(key, &vec![0; cipher.block_len()], &mut data)
            .expect("the key should have the right length");
        let data = cfb_decrypt(cipher, key, &data).expect("the key should have the right length");
        prop_assert_eq!(data, plain);
    }

    #[test]
    fn aead_opens_the_ciphertext_of_rpgp_and_rejects_any_altered_bit(
        mode in select(&AeadMode::ALL[..]),
        cipher in select(&[Cipher::Aes128, Cipher::Aes192, Cipher::Aes256][..]),
        key in proptest::collection::vec(any::<u8>(), 32),
        nonce: [u8; 16],
        associated in proptest::collection::vec(any::<u8>(), 0..40),
        plain in proptest::collection::vec(any::<u8>(), 0..500),
        flip: prop::sample::Index,
    ) {
        let (key, nonce) = (&key[..cipher.key_len()], &nonce[..mode.nonce_len()]);
        let theirs = AeadAlgorithm::from(mode as u8);
        let mut sealed = BytesMut::from(&plain[..]);
        theirs
            .encrypt_in_place(&rpgp_cipher(cipher), key, nonce, &associated, &mut sealed)
            .expect("rpgp should encrypt");
        let mut opened = sealed.to_vec();
        prop_assert_eq!(aead_open(mode, cipher, key, nonce, &associated, &mut opened), Ok(true));
        prop_assert_eq!(opened, plain);

        let mut altered = sealed.to_vec();
        let bit = flip.index(altered.len() * 8);
        altered[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(aead_open(mode, cipher, key, nonce, &associated, &mut altered), Ok(false));
    }
}

#[test]
fn arguments_outside_the_definition_are_rejected() {
    assert!(S2k::new(Hash::Sha1, b"", b"", 0, 65).is_err());
    let argon2id = Argon2id {
        passes: 0,
        lanes: 0,
        memory_kib: 0,
    };
    assert!(argon2id.derive(b"", b"", 32).is_err());
    for cipher in Cipher::ALL {
        for len in [0, cipher.key_len() - 1, cipher.key_len() + 1] {
            assert!(
                cfb_decrypt(cipher, &vec![0; len], &[0; 20]).is_err(),
                "{cipher:?} {len}"
            );
        }
        let key = vec![1; cipher.key_len()];
        let opened = aead_open(AeadMode::Ocb, cipher, &key, &[0; 15], b"", &mut vec![0; 40]);
        assert_eq!(opened.is_ok(), cipher.block_len() == 16, "{cipher:?}");
    }
}

#[test]
fn derivation_ends_when_interrupted() {
    let s2k = S2k::new(Hash::Sha1, b"12345678", b"p", 65_011_712, 32)
        .expect("key_len is within the maximum");
    assert_eq!(s2k.bytes_hashed(), 2 * 65_011_712);
    let mut calls = 0;
    let result = s2k.derive(&mut || {
        calls += 1;
        calls < 3
    });
    assert_eq!((result, calls), (Err(Interrupted), 3));
}
