//! The `bulkhead:crypto` interfaces in pure Wasm, for builds that run without the server.
//!
//! The limits are the server's defaults. The environment variables of the server's settings change them.

#[expect(clippy::pedantic, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/crypto",
        world: "provider",
        export_macro_name: "export",
    });
}

use bindings::exports::bulkhead::crypto::{bulk, kdf};
use bulkhead_crypto::{Argon2id, KdfLimits, S2k};
use bulkhead_envelope::Limit;
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

bulkhead_crypto::wit_conversions!(kdf, bulk);

struct Component;

#[expect(
    unsafe_code,
    reason = "exported functions have fixed names, which Rust calls unsafe"
)]
mod exports {
    crate::bindings::export!(Component with_types_in crate::bindings);
    use super::Component;
}

/// Number of bytes hashed by S2K so far.
static SPENT_BYTES: AtomicU64 = AtomicU64::new(0);

/// Maximum size of an allocation in KiB: half of the address space, 2 GiB in Wasm.
const ALLOCATION_KIB_MAX: u64 = (isize::MAX as u64) >> 10;

/// Returns the limits of this instance.
///
/// A variable that cannot be parsed sets its limit to 0. The default could be more than the operator intended.
fn limits() -> KdfLimits {
    let allowed = |limit: Limit| {
        let given = std::env::var(limit.setting().variable()).ok();
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
        count: u32,
        key_len: u8,
    ) -> Result<Vec<u8>, kdf::Rejection> {
        let passphrase = Zeroizing::new(passphrase);
        let work = S2k::new(hash.into(), &salt, &passphrase, count, key_len.into())?;
        let spent = limits().charge_s2k(SPENT_BYTES.load(Ordering::Relaxed), &work)?;
        SPENT_BYTES.store(spent, Ordering::Relaxed);
        let mut key = work
            .derive(&mut || true)
            .expect("the derivation is never interrupted");
        Ok(std::mem::take(&mut *key))
    }

    fn argon2id(
        salt: Vec<u8>,
        passphrase: Vec<u8>,
        passes: u8,
        lanes: u8,
        memory_kib: u32,
        key_len: u8,
    ) -> Result<Vec<u8>, kdf::Rejection> {
        let passphrase = Zeroizing::new(passphrase);
        let work = Argon2id {
            passes,
            lanes,
            memory_kib,
        };
        limits().check_argon2id(&work)?;
        let mut key = work.derive(&salt, &passphrase, key_len.into())?;
        Ok(std::mem::take(&mut *key))
    }
}

impl bulk::Guest for Component {
    fn cfb_decrypt(
        cipher: bulk::Cipher,
        key: Vec<u8>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, bulk::Rejection> {
        Ok(bulkhead_crypto::cfb_decrypt(cipher.into(), &key, &data)?)
    }

    fn aead_open(
        mode: bulk::AeadMode,
        cipher: bulk::Cipher,
        key: Vec<u8>,
        nonce: Vec<u8>,
        associated: Vec<u8>,
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, bulk::Rejection> {
        let (mode, cipher) = (mode.into(), cipher.into());
        if bulkhead_crypto::aead_open(mode, cipher, &key, &nonce, &associated, &mut sealed)? {
            Ok(sealed)
        } else {
            Err(bulk::Rejection::Unauthentic)
        }
    }

    fn sha1(data: Vec<u8>) -> Vec<u8> {
        bulkhead_crypto::sha1(&data).to_vec()
    }
}
