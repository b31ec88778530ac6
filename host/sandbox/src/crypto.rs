//! The crypto interfaces, implemented natively within an instance's budget.
//!
//! Arguments are read in the guest's memory, so that passphrases, keys and megabytes of a message are not
//! copied. The bindings that wasmtime generates copy every list. Therefore this module links each function
//! itself.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the linker passes the store by value"
)]

use crate::bindings::bulkhead::crypto::{bulk, kdf};
use crate::fault::Fault;
use crate::instance::{KdfOffload, State};
use bulkhead_crypto::{Argon2id, S2k};
use bulkhead_kdf::{DeriveError, Engine};
use std::sync::Arc;
use wasmtime::component::{Linker, WasmList};
use wasmtime::{Result, StoreContextMut};
use zeroize::Zeroizing;

/// The names of both interfaces.
pub(crate) const INTERFACES: [&str; 2] =
    ["bulkhead:crypto/kdf@0.2.0", "bulkhead:crypto/bulk@0.2.0"];

/// Links both interfaces.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    let mut kdf = linker.instance(INTERFACES[0])?;
    kdf.func_wrap("s2k", s2k)?;
    kdf.func_wrap("argon2id", argon2id)?;
    let mut bulk = linker.instance(INTERFACES[1])?;
    bulk.func_wrap("cfb-decrypt", cfb_decrypt)?;
    bulk.func_wrap("aead-open", aead_open)?;
    bulk.func_wrap("sha1", sha1)
}

/// A derived key for the guest: see [`State::lend`].
type Key = Arc<[u8]>;

type Lent<'a> = StoreContextMut<'a, State>;
type Bytes = WasmList<u8>;

fn s2k(
    mut store: Lent<'_>,
    (hash, salt, passphrase, count, key_len): (kdf::Hash, Bytes, Bytes, u32, u8),
) -> Result<(Result<Key, kdf::Rejection>,)> {
    let (salt, passphrase) = (salt.as_le_slice(&store), passphrase.as_le_slice(&store));
    let key = store.data().s2k(hash, salt, passphrase, count, key_len)?;
    Ok((key.map(|key| store.data_mut().lend(&key)),))
}

fn argon2id(
    mut store: Lent<'_>,
    (salt, passphrase, passes, lanes, memory_kib, key_len): (Bytes, Bytes, u8, u8, u32, u8),
) -> Result<(Result<Key, kdf::Rejection>,)> {
    let (salt, passphrase) = (salt.as_le_slice(&store), passphrase.as_le_slice(&store));
    let work = Argon2id {
        passes,
        lanes,
        memory_kib,
    };
    let key = store.data().argon2id(work, salt, passphrase, key_len)?;
    Ok((key.map(|key| store.data_mut().lend(&key)),))
}

fn cfb_decrypt(
    store: Lent<'_>,
    (cipher, key, data): (bulk::Cipher, Bytes, Bytes),
) -> Result<(Result<Vec<u8>, bulk::Rejection>,)> {
    let (key, data) = (key.as_le_slice(&store), data.as_le_slice(&store));
    Ok((store.data().cfb_decrypt(cipher, key, data)?,))
}

fn aead_open(
    store: Lent<'_>,
    (mode, cipher, key, nonce, associated, sealed): (
        bulk::AeadMode,
        bulk::Cipher,
        Bytes,
        Bytes,
        Bytes,
        Bytes,
    ),
) -> Result<(Result<Vec<u8>, bulk::Rejection>,)> {
    let [key, nonce, associated, sealed] =
        [key, nonce, associated, sealed].map(|bytes| bytes.as_le_slice(&store));
    let opened = store
        .data()
        .aead_open(mode, cipher, key, nonce, associated, sealed)?;
    Ok((opened,))
}

fn sha1(store: Lent<'_>, (data,): (Bytes,)) -> Result<(Vec<u8>,)> {
    Ok((store.data().sha1(data.as_le_slice(&store))?,))
}

impl State {
    fn s2k(
        &self,
        hash: kdf::Hash,
        salt: &[u8],
        passphrase: &[u8],
        count: u32,
        key_len: u8,
    ) -> Result<Result<Zeroizing<Vec<u8>>, kdf::Rejection>> {
        let s2k = match S2k::new(hash.into(), salt, passphrase, count, key_len.into()) {
            Ok(s2k) => s2k,
            Err(invalid) => return Ok(Err(invalid.into())),
        };
        match self.kdf_limits.charge_s2k(self.s2k_bytes.get(), &s2k) {
            Ok(spent) => self.s2k_bytes.set(spent),
            Err(over) => return Ok(Err(over.into())),
        }
        self.charge_kdf(s2k.bytes_hashed())?;
        let key = match &self.kdf_offload {
            None => s2k
                .derive(&mut || self.check_running().is_ok())
                .map_err(|_| self.cancelled())?,
            Some(KdfOffload { engine, caller, .. }) if Engine::is_short(&s2k) => {
                let derived = engine.derive(&s2k, *caller, &self.cancellation());
                derived.map_err(|_| self.cancelled())?
            }
            Some(KdfOffload {
                engine,
                caller,
                permit,
            }) => {
                let derive = || engine.derive(&s2k, *caller, &self.cancellation());
                let derived = permit.release_while(derive);
                derived.map_err(|error| match error {
                    DeriveError::QueueFull | DeriveError::Late => Fault::KeysOverloaded,
                    DeriveError::Cancelled => self.cancelled(),
                })?
            }
        };
        Ok(Ok(key))
    }

    fn argon2id(
        &self,
        work: Argon2id,
        salt: &[u8],
        passphrase: &[u8],
        key_len: u8,
    ) -> Result<Result<Zeroizing<Vec<u8>>, kdf::Rejection>> {
        self.check_running()?;
        if let Err(over) = self.kdf_limits.check_argon2id(&work) {
            return Ok(Err(over.into()));
        }
        let bytes = u64::from(work.memory_kib) * 1024 * u64::from(work.passes);
        self.charge_kdf(bytes)?;
        let key = work.derive(salt, passphrase, key_len.into());
        Ok(key.map_err(Into::into))
    }

    fn cfb_decrypt(
        &self,
        cipher: bulk::Cipher,
        key: &[u8],
        data: &[u8],
    ) -> Result<Result<Vec<u8>, bulk::Rejection>> {
        self.check_running()?;
        let plain = bulkhead_crypto::cfb_decrypt(cipher.into(), key, data);
        Ok(plain.map_err(Into::into))
    }

    fn aead_open(
        &self,
        mode: bulk::AeadMode,
        cipher: bulk::Cipher,
        key: &[u8],
        nonce: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<Result<Vec<u8>, bulk::Rejection>> {
        self.check_running()?;
        let (mode, cipher) = (mode.into(), cipher.into());
        let mut sealed = sealed.to_vec();
        Ok(
            match bulkhead_crypto::aead_open(mode, cipher, key, nonce, associated, &mut sealed) {
                Ok(true) => Ok(sealed),
                Ok(false) => Err(bulk::Rejection::Unauthentic),
                Err(invalid) => Err(invalid.into()),
            },
        )
    }

    fn sha1(&self, data: &[u8]) -> Result<Vec<u8>> {
        self.check_running()?;
        Ok(bulkhead_crypto::sha1(data).to_vec())
    }
}

bulkhead_crypto::wit_conversions!(kdf, bulk);

#[cfg(test)]
mod against_soft;
