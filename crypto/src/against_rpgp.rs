//! The same inputs through rpgp, which shares neither the code nor the crate versions.

use crate::{AeadMode, Argon2id, Cipher, Hash, S2k, aead_open, cfb_decrypt};
use pgp::bytes::BytesMut;
use pgp::crypto::aead::AeadAlgorithm;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::types::StringToKey;
use proptest::prelude::*;
use proptest::sample::select;

fn rpgp_hash(hash: Hash) -> HashAlgorithm {
    match hash {
        Hash::Md5 => HashAlgorithm::Md5,
        Hash::Sha1 => HashAlgorithm::Sha1,
        Hash::Ripemd160 => HashAlgorithm::Ripemd160,
        Hash::Sha224 => HashAlgorithm::Sha224,
        Hash::Sha256 => HashAlgorithm::Sha256,
        Hash::Sha384 => HashAlgorithm::Sha384,
        Hash::Sha512 => HashAlgorithm::Sha512,
        Hash::Sha3_256 => HashAlgorithm::Sha3_256,
        Hash::Sha3_512 => HashAlgorithm::Sha3_512,
    }
}

fn rpgp_cipher(cipher: Cipher) -> SymmetricKeyAlgorithm {
    match cipher {
        Cipher::Idea => SymmetricKeyAlgorithm::IDEA,
        Cipher::TripleDes => SymmetricKeyAlgorithm::TripleDES,
        Cipher::Cast5 => SymmetricKeyAlgorithm::CAST5,
        Cipher::Blowfish => SymmetricKeyAlgorithm::Blowfish,
        Cipher::Aes128 => SymmetricKeyAlgorithm::AES128,
        Cipher::Aes192 => SymmetricKeyAlgorithm::AES192,
        Cipher::Aes256 => SymmetricKeyAlgorithm::AES256,
        Cipher::Twofish => SymmetricKeyAlgorithm::Twofish,
        Cipher::Camellia128 => SymmetricKeyAlgorithm::Camellia128,
        Cipher::Camellia192 => SymmetricKeyAlgorithm::Camellia192,
        Cipher::Camellia256 => SymmetricKeyAlgorithm::Camellia256,
    }
}

/// RFC 9580 section 3.7.1.3.
fn decoded(count: u8) -> u32 {
    (16 + u32::from(count & 15)) << (u32::from(count >> 4) + 6)
}

/// Short and long passphrases, the empty one, and those longer than the smallest counts.
fn passphrase() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..100),
        proptest::collection::vec(any::<u8>(), 1_000..10_000),
    ]
}

proptest! {
    #[test]
    fn s2k_iterated(
        hash in select(&Hash::ALL[..]),
        salt: [u8; 8],
        passphrase in passphrase(),
        count in 0_u8..0x80,
        key_len in 0_usize..=64,
    ) {
        let theirs = StringToKey::IteratedAndSalted { hash_alg: rpgp_hash(hash), salt, count }
            .derive_key(&passphrase, key_len)
            .expect("rpgp knows the hash");
        let ours = S2k::new(hash, &salt, &passphrase, decoded(count), key_len)
            .expect("a key of 64 bytes at most");
        prop_assert_eq!(&ours.derive(&mut || true).expect("not stopped")[..], theirs.as_ref());
    }

    #[test]
    fn s2k_salted_and_simple(
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
            let theirs = theirs.derive_key(&passphrase, key_len).expect("rpgp knows the hash");
            let ours = S2k::new(hash, salt, &passphrase, 0, key_len).expect("short enough");
            prop_assert_eq!(&ours.derive(&mut || true).expect("not stopped")[..], theirs.as_ref());
        }
    }

    #[test]
    fn argon2(
        salt: [u8; 16],
        passphrase in proptest::collection::vec(any::<u8>(), 0..100),
        passes in 1_u8..4,
        lanes in 1_u8..4,
        memory_exponent in 5_u8..10,
        key_len in select(&[16_usize, 24, 32][..]),
    ) {
        let theirs = StringToKey::Argon2 { salt, t: passes, p: lanes, m_enc: memory_exponent }
            .derive_key(&passphrase, key_len)
            .expect("valid parameters");
        let ours = Argon2id { passes, lanes, memory_kib: 1 << memory_exponent }
            .derive(&salt, &passphrase, key_len)
            .expect("valid parameters");
        prop_assert_eq!(&ours[..], theirs.as_ref());
    }

    #[test]
    fn cfb(
        cipher in select(&Cipher::ALL[..]),
        key in proptest::collection::vec(any::<u8>(), 32),
        plain in proptest::collection::vec(any::<u8>(), 0..500),
    ) {
        let key = &key[..cipher.key_len()];
        let mut data = plain.clone();
        rpgp_cipher(cipher)
            .encrypt_with_iv_regular(key, &vec![0; cipher.block_len()], &mut data)
            .expect("a key of the right length");
        let data = cfb_decrypt(cipher, key, &data).expect("a key of the right length");
        prop_assert_eq!(data, plain);
    }

    #[test]
    fn aead(
        mode in select(&AeadMode::ALL[..]),
        cipher in select(&[Cipher::Aes128, Cipher::Aes192, Cipher::Aes256][..]),
        key in proptest::collection::vec(any::<u8>(), 32),
        nonce: [u8; 16],
        associated in proptest::collection::vec(any::<u8>(), 0..40),
        plain in proptest::collection::vec(any::<u8>(), 0..500),
        flip: prop::sample::Index,
    ) {
        let (key, nonce) = (&key[..cipher.key_len()], &nonce[..mode.nonce_len()]);
        let theirs = match mode {
            AeadMode::Eax => AeadAlgorithm::Eax,
            AeadMode::Ocb => AeadAlgorithm::Ocb,
            AeadMode::Gcm => AeadAlgorithm::Gcm,
        };
        let mut sealed = BytesMut::from(&plain[..]);
        theirs
            .encrypt_in_place(&rpgp_cipher(cipher), key, nonce, &associated, &mut sealed)
            .expect("rpgp seals");
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
fn arguments_outside_the_definition_are_refused() {
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
fn a_derivation_stops_when_told() {
    let s2k = S2k::new(Hash::Sha1, b"12345678", b"p", 65_011_712, 32).expect("valid");
    assert_eq!(s2k.bytes_hashed(), 2 * 65_011_712);
    let mut asked = 0;
    let stopped = s2k.derive(&mut || {
        asked += 1;
        asked < 3
    });
    assert_eq!((stopped.is_err(), asked), (true, 3));
}
