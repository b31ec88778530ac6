//! The `bulkhead:crypto` interfaces in pure Wasm, to compose offline builds with.
//!
//! Its limits are the server's defaults, unless the environment names others: offline, whoever runs it
//! decides how long to wait.

#[expect(clippy::pedantic, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/crypto",
        world: "provider",
        export_macro_name: "export",
    });
}

use bindings::exports::bulkhead::crypto::{bulk, kdf};
use bulkhead_crypto::{AeadMode, Argon2id, Cipher, Hash, KdfLimit, KdfLimits, OverLimit, S2k};
use bulkhead_envelope::Limit;
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

struct Component;

#[expect(
    unsafe_code,
    reason = "exported functions have fixed names, which Rust calls unsafe"
)]
mod exports {
    crate::bindings::export!(Component with_types_in crate::bindings);
    use super::Component;
}

/// Bytes hashed so far.
static SPENT: AtomicU64 = AtomicU64::new(0);

/// No allocation is larger: half of the addresses, 2 GiB in Wasm.
const ALLOCATION_KIB_MAX: u64 = (isize::MAX as u64) >> 10;

/// What this instance may spend. A variable that cannot be read allows nothing: to take the default for it
/// would be more than was meant.
fn limits() -> KdfLimits {
    let allowed = |limit: Limit| {
        let given = std::env::var(limit.variable()).ok();
        limit.allowed(given.as_deref()).unwrap_or(0)
    };
    KdfLimits {
        s2k_bytes: allowed(Limit::S2kBytes),
        argon2_memory_kib: allowed(Limit::Argon2MemoryKib).min(ALLOCATION_KIB_MAX),
        argon2_passes: allowed(Limit::Argon2Passes),
    }
}

impl kdf::Guest for Component {
    fn s2k(
        hash: kdf::Hash,
        salt: Vec<u8>,
        passphrase: Vec<u8>,
        bytes: u32,
        key_len: u8,
    ) -> Result<Vec<u8>, kdf::Refusal> {
        let hash = match hash {
            kdf::Hash::Md5 => Hash::Md5,
            kdf::Hash::Sha1 => Hash::Sha1,
            kdf::Hash::Ripemd160 => Hash::Ripemd160,
            kdf::Hash::Sha224 => Hash::Sha224,
            kdf::Hash::Sha256 => Hash::Sha256,
            kdf::Hash::Sha384 => Hash::Sha384,
            kdf::Hash::Sha512 => Hash::Sha512,
            kdf::Hash::Sha3256 => Hash::Sha3_256,
            kdf::Hash::Sha3512 => Hash::Sha3_512,
        };
        let passphrase = Zeroizing::new(passphrase);
        let work = S2k::new(hash, &salt, &passphrase, bytes, key_len.into())
            .map_err(|_| kdf::Refusal::Invalid)?;
        let spent = limits().charge_s2k(SPENT.load(Ordering::Relaxed), &work)?;
        SPENT.store(spent, Ordering::Relaxed);
        let mut key = work
            .derive(&mut || true)
            .map_err(|_| kdf::Refusal::Invalid)?;
        Ok(std::mem::take(&mut *key))
    }

    fn argon2id(
        salt: Vec<u8>,
        passphrase: Vec<u8>,
        passes: u8,
        lanes: u8,
        memory_kib: u32,
        key_len: u8,
    ) -> Result<Vec<u8>, kdf::Refusal> {
        let argon2id = Argon2id {
            passes,
            lanes,
            memory_kib,
        };
        limits().check_argon2id(&argon2id)?;
        let passphrase = Zeroizing::new(passphrase);
        let mut key = argon2id
            .derive(&salt, &passphrase, key_len.into())
            .map_err(|_| kdf::Refusal::Invalid)?;
        Ok(std::mem::take(&mut *key))
    }
}

impl From<OverLimit> for kdf::Refusal {
    fn from(over: OverLimit) -> Self {
        Self::OverLimit(kdf::Excess {
            limit: match over.limit {
                KdfLimit::S2kBytes => kdf::Limit::S2kOctets,
                KdfLimit::Argon2MemoryKib => kdf::Limit::Argon2MemoryKib,
                KdfLimit::Argon2Passes => kdf::Limit::Argon2Passes,
            },
            asked: over.asked,
            allowed: over.allowed,
        })
    }
}

impl bulk::Guest for Component {
    fn cfb_decrypt(
        cipher: bulk::Cipher,
        key: Vec<u8>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, bulk::Refusal> {
        bulkhead_crypto::cfb_decrypt(named(cipher), &key, &data).map_err(|_| bulk::Refusal::Invalid)
    }

    fn aead_open(
        mode: bulk::AeadMode,
        cipher: bulk::Cipher,
        key: Vec<u8>,
        nonce: Vec<u8>,
        associated: Vec<u8>,
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, bulk::Refusal> {
        let mode = match mode {
            bulk::AeadMode::Eax => AeadMode::Eax,
            bulk::AeadMode::Ocb => AeadMode::Ocb,
            bulk::AeadMode::Gcm => AeadMode::Gcm,
        };
        match bulkhead_crypto::aead_open(
            mode,
            named(cipher),
            &key,
            &nonce,
            &associated,
            &mut sealed,
        ) {
            Ok(true) => Ok(sealed),
            Ok(false) => Err(bulk::Refusal::Unauthentic),
            Err(_) => Err(bulk::Refusal::Invalid),
        }
    }

    fn sha1(data: Vec<u8>) -> Vec<u8> {
        bulkhead_crypto::sha1(&data).to_vec()
    }
}

fn named(cipher: bulk::Cipher) -> Cipher {
    match cipher {
        bulk::Cipher::Idea => Cipher::Idea,
        bulk::Cipher::Tdes => Cipher::TripleDes,
        bulk::Cipher::Cast5 => Cipher::Cast5,
        bulk::Cipher::Blowfish => Cipher::Blowfish,
        bulk::Cipher::Aes128 => Cipher::Aes128,
        bulk::Cipher::Aes192 => Cipher::Aes192,
        bulk::Cipher::Aes256 => Cipher::Aes256,
        bulk::Cipher::Twofish => Cipher::Twofish,
        bulk::Cipher::Camellia128 => Cipher::Camellia128,
        bulk::Cipher::Camellia192 => Cipher::Camellia192,
        bulk::Cipher::Camellia256 => Cipher::Camellia256,
    }
}
