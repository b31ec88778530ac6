//! The native crypto and `guest/crypto-soft` in Wasm return the same bytes for random inputs.
//! (The tests of `crypto/` compare it with rpgp.)

use crate::bindings::bulkhead::crypto::{bulk, kdf};
use crate::engine::{Sandbox, Setup};
use crate::instance::{self, Budget, InstanceLimits, State};
use crate::wasi;
use bindings::exports::bulkhead::crypto as soft;
use bulkhead_crypto::{Argon2id, KdfLimits};
use bulkhead_kdf::CancelFlag;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::fmt::Debug;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use wasmtime::Store;
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/crypto",
        world: "bulkhead:crypto/provider",
    });
}

/// Maximum number of bytes that one call copies from guest to host.
const COPIED_BYTES: usize = 1 << 20;

const MEMORY_BYTES: usize = 64 << 20;

const LIMITS: KdfLimits = KdfLimits {
    s2k_bytes: u64::MAX,
    argon2_memory_kib: u64::MAX,
    argon2_passes: u64::MAX,
};

struct Soft {
    sandbox: Sandbox,
    instances: bindings::ProviderPre<State>,
}

static SOFT: LazyLock<Soft> = LazyLock::new(|| {
    let setup = Setup {
        memory_bytes_max: MEMORY_BYTES,
        instances: 16,
    };
    let sandbox = Sandbox::new(&setup).expect("sandbox should be set up");
    let loaded = sandbox
        .load(bulkhead_artifacts::CRYPTO_SOFT, None)
        .expect("component should be loaded");
    let mut linker = Linker::new(&sandbox.engine);
    wasi::add_inert(&mut linker).expect("WASI should link");
    let instances = linker
        .instantiate_pre(&loaded.component)
        .expect("component should link");
    Soft {
        instances: bindings::ProviderPre::new(instances).expect("component should be a provider"),
        sandbox,
    }
});

fn store() -> Store<State> {
    let budget = Budget {
        limits: InstanceLimits {
            memory_bytes: MEMORY_BYTES,
            time: Duration::from_mins(1),
        },
        kdf: LIMITS,
        kdf_offload: None,
        kdf_charge: None,
        cancel: CancelFlag::default(),
    };
    instance::store(&SOFT.sandbox, budget, Instant::now(), COPIED_BYTES)
}

/// Makes the same call to both sides. Their errors are two generated types with equal names.
fn both<T: Debug, U: Debug>(
    native: impl FnOnce(&State) -> wasmtime::Result<T>,
    soft: impl FnOnce(&mut Store<State>, &bindings::Provider) -> wasmtime::Result<U>,
) -> (String, String) {
    let native = native(store().data()).expect("call should not fault");
    let mut store = store();
    let instance = SOFT
        .instances
        .instantiate(&mut store)
        .expect("instance should start");
    let soft = soft(&mut store, &instance).expect("call should not trap");
    (described(&native), described(&soft))
}

/// Formats an outcome with single spaces. The texts of errors come from `wit/`, and their indentation
/// depends on the nesting of the generated modules.
fn described(outcome: &impl Debug) -> String {
    let text = format!("{outcome:?}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

const HASHES: [(kdf::Hash, soft::kdf::Hash); 9] = [
    (kdf::Hash::Md5, soft::kdf::Hash::Md5),
    (kdf::Hash::Sha1, soft::kdf::Hash::Sha1),
    (kdf::Hash::Ripemd160, soft::kdf::Hash::Ripemd160),
    (kdf::Hash::Sha224, soft::kdf::Hash::Sha224),
    (kdf::Hash::Sha256, soft::kdf::Hash::Sha256),
    (kdf::Hash::Sha384, soft::kdf::Hash::Sha384),
    (kdf::Hash::Sha512, soft::kdf::Hash::Sha512),
    (kdf::Hash::Sha3256, soft::kdf::Hash::Sha3256),
    (kdf::Hash::Sha3512, soft::kdf::Hash::Sha3512),
];

/// The ciphers, with the lengths of their keys in bytes.
const CIPHERS: [(bulk::Cipher, soft::bulk::Cipher, usize); 11] = [
    (bulk::Cipher::Idea, soft::bulk::Cipher::Idea, 16),
    (bulk::Cipher::Tdes, soft::bulk::Cipher::Tdes, 24),
    (bulk::Cipher::Cast5, soft::bulk::Cipher::Cast5, 16),
    (bulk::Cipher::Blowfish, soft::bulk::Cipher::Blowfish, 16),
    (bulk::Cipher::Aes128, soft::bulk::Cipher::Aes128, 16),
    (bulk::Cipher::Aes192, soft::bulk::Cipher::Aes192, 24),
    (bulk::Cipher::Aes256, soft::bulk::Cipher::Aes256, 32),
    (bulk::Cipher::Twofish, soft::bulk::Cipher::Twofish, 32),
    (
        bulk::Cipher::Camellia128,
        soft::bulk::Cipher::Camellia128,
        16,
    ),
    (
        bulk::Cipher::Camellia192,
        soft::bulk::Cipher::Camellia192,
        24,
    ),
    (
        bulk::Cipher::Camellia256,
        soft::bulk::Cipher::Camellia256,
        32,
    ),
];

/// The modes, with the lengths of their nonces in bytes.
const MODES: [(bulk::AeadMode, soft::bulk::AeadMode, usize); 3] = [
    (bulk::AeadMode::Eax, soft::bulk::AeadMode::Eax, 16),
    (bulk::AeadMode::Ocb, soft::bulk::AeadMode::Ocb, 15),
    (bulk::AeadMode::Gcm, soft::bulk::AeadMode::Gcm, 12),
];

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..max)
}

proptest! {
    #[test]
    fn s2k(
        hash in select(&HASHES[..]),
        salt in bytes(20),
        passphrase in bytes(300),
        count in 0_u32..200_000,
        key_len in 0_u8..70,
    ) {
        let (native, soft) = both(
            |state| state.s2k(hash.0, &salt, &passphrase, count, key_len).map(|key| key.map(|key| key.to_vec())),
            |store, soft| soft.bulkhead_crypto_kdf().call_s2k(store, hash.1, &salt, &passphrase, count, key_len),
        );
        prop_assert_eq!(native, soft);
    }

    #[test]
    fn argon2id(
        salt in bytes(32),
        passphrase in bytes(100),
        passes in 0_u8..4,
        lanes in 0_u8..5,
        memory_kib in 0_u32..256,
        key_len in 0_u8..70,
    ) {
        let (native, soft) = both(
            |state| state.argon2id(Argon2id { passes, lanes, memory_kib }, &salt, &passphrase, key_len).map(|key| key.map(|key| key.to_vec())),
            |store, soft| soft.bulkhead_crypto_kdf().call_argon2id(store, &salt, &passphrase, passes, lanes, memory_kib, key_len),
        );
        prop_assert_eq!(native, soft);
    }

    #[test]
    fn cfb_decrypt(
        cipher in select(&CIPHERS[..]),
        key in proptest::collection::vec(any::<u8>(), 40),
        odd_len in proptest::option::weighted(0.1, 0_usize..40),
        data in bytes(5000),
    ) {
        let key = &key[..odd_len.unwrap_or(cipher.2)];
        let (native, soft) = both(
            |state| state.cfb_decrypt(cipher.0, key, &data),
            |store, soft| soft.bulkhead_crypto_bulk().call_cfb_decrypt(store, cipher.1, key, &data),
        );
        prop_assert_eq!(native, soft);
    }

    /// The input is random. Both sides must return that it is not authentic, or the same error.
    #[test]
    fn aead_open_of_random_bytes(
        mode in select(&MODES[..]),
        cipher in select(&CIPHERS[..]),
        key in proptest::collection::vec(any::<u8>(), 32),
        nonce in proptest::collection::vec(any::<u8>(), 20),
        odd_len in proptest::option::weighted(0.1, 0_usize..20),
        associated in bytes(40),
        sealed in bytes(500),
    ) {
        let (key, nonce) = (&key[..cipher.2], &nonce[..odd_len.unwrap_or(mode.2)]);
        let (native, soft) = open_both(mode, cipher, key, nonce, &associated, &sealed);
        prop_assert_eq!(native, soft);
    }

    /// The input was sealed by rpgp. It is opened unchanged, and with one flipped bit.
    #[test]
    fn aead_open(
        mode in select(&MODES[..]),
        cipher in select(&CIPHERS[4..7]),
        key in proptest::collection::vec(any::<u8>(), 32),
        nonce in proptest::collection::vec(any::<u8>(), 16),
        associated in bytes(40),
        plain in bytes(5000),
        flip: Index,
    ) {
        let (key, nonce) = (&key[..cipher.2], &nonce[..mode.2]);
        let mut sealed = seal(mode.0, cipher.0, key, nonce, &associated, &plain);
        let (native, soft) = open_both(mode, cipher, key, nonce, &associated, &sealed);
        prop_assert_eq!(&native, &described(&Ok::<_, ()>(plain)));
        prop_assert_eq!(native, soft);
        let bit = flip.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        let (native, soft) = open_both(mode, cipher, key, nonce, &associated, &sealed);
        prop_assert!(native.contains("unauthentic"), "{}", native);
        prop_assert_eq!(native, soft);
    }

    #[test]
    fn sha1(data in bytes(5000)) {
        let (native, soft) = both(
            |state| state.sha1(&data),
            |store, soft| soft.bulkhead_crypto_bulk().call_sha1(store, &data),
        );
        prop_assert_eq!(native, soft);
    }
}

fn open_both(
    mode: (bulk::AeadMode, soft::bulk::AeadMode, usize),
    cipher: (bulk::Cipher, soft::bulk::Cipher, usize),
    key: &[u8],
    nonce: &[u8],
    associated: &[u8],
    sealed: &[u8],
) -> (String, String) {
    both(
        |state| state.aead_open(mode.0, cipher.0, key, nonce, associated, sealed),
        |store, soft| {
            let bulk = soft.bulkhead_crypto_bulk();
            bulk.call_aead_open(store, mode.1, cipher.1, key, nonce, associated, sealed)
        },
    )
}

fn seal(
    mode: bulk::AeadMode,
    cipher: bulk::Cipher,
    key: &[u8],
    nonce: &[u8],
    associated: &[u8],
    plain: &[u8],
) -> Vec<u8> {
    use pgp::crypto::aead::AeadAlgorithm;
    use pgp::crypto::sym::SymmetricKeyAlgorithm;
    let mode = match mode {
        bulk::AeadMode::Eax => AeadAlgorithm::Eax,
        bulk::AeadMode::Ocb => AeadAlgorithm::Ocb,
        bulk::AeadMode::Gcm => AeadAlgorithm::Gcm,
    };
    let cipher = match cipher {
        bulk::Cipher::Aes128 => SymmetricKeyAlgorithm::AES128,
        bulk::Cipher::Aes192 => SymmetricKeyAlgorithm::AES192,
        bulk::Cipher::Aes256 => SymmetricKeyAlgorithm::AES256,
        other => panic!("rpgp seals with AES only, not {other:?}"),
    };
    let mut sealed = pgp::bytes::BytesMut::from(plain);
    mode.encrypt_in_place(&cipher, key, nonce, associated, &mut sealed)
        .expect("rpgp should seal");
    sealed.to_vec()
}
