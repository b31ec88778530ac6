//! The crypto interfaces, served natively within an instance's budget.

use crate::decrypt::bindings::bulkhead::crypto::{bulk, kdf};
use crate::instance::{Aside, Fault, State};
use bulkhead_crypto::{AeadMode, Argon2id, Cipher, Hash, KdfLimit, OverLimit, S2k};
use bulkhead_kdf::{Engine, NotDerived};
use wasmtime::Result;

impl kdf::Host for State {
    fn s2k(
        &mut self,
        hash: kdf::Hash,
        salt: Vec<u8>,
        passphrase: Vec<u8>,
        octets: u32,
        key_len: u8,
    ) -> Result<Result<Vec<u8>, kdf::Refusal>> {
        let passphrase = zeroize::Zeroizing::new(passphrase);
        let Ok(s2k) = S2k::new(named_hash(hash), &salt, &passphrase, octets, key_len.into()) else {
            return Ok(Err(kdf::Refusal::Invalid));
        };
        match self.kdf_limits.s2k(self.s2k_octets, &s2k) {
            Ok(spent) => self.s2k_octets = spent,
            Err(over) => return Ok(Err(over.into())),
        }
        let mut key = match &self.aside {
            Some(Aside { engine, turn }) if !Engine::is_short(&s2k) => {
                let derived = turn.give_up_while(|| engine.derive(&s2k, &self.stop()));
                match derived {
                    Ok(key) => key,
                    Err(NotDerived::Full) => return Err(Fault::KeysOverloaded.into()),
                    Err(NotDerived::Stopped) => return Err(self.stopped().into()),
                }
            }
            Some(Aside { engine, .. }) => engine
                .derive(&s2k, &self.stop())
                .map_err(|_| self.stopped())?,
            None => s2k
                .derive(&mut || self.go_on().is_ok())
                .map_err(|_| self.stopped())?,
        };
        Ok(Ok(std::mem::take(&mut *key)))
    }

    fn argon2id(
        &mut self,
        salt: Vec<u8>,
        passphrase: Vec<u8>,
        passes: u8,
        lanes: u8,
        memory_kib: u32,
        key_len: u8,
    ) -> Result<Result<Vec<u8>, kdf::Refusal>> {
        let passphrase = zeroize::Zeroizing::new(passphrase);
        self.go_on()?;
        let argon2id = Argon2id {
            passes,
            lanes,
            memory_kib,
        };
        if let Err(over) = self.kdf_limits.argon2id(&argon2id) {
            return Ok(Err(over.into()));
        }
        let key = argon2id.derive(&salt, &passphrase, key_len.into());
        Ok(key
            .map(|mut key| std::mem::take(&mut *key))
            .map_err(|_| kdf::Refusal::Invalid))
    }
}

impl bulk::Host for State {
    fn cfb_decrypt(
        &mut self,
        cipher: bulk::Cipher,
        key: Vec<u8>,
        mut data: Vec<u8>,
    ) -> Result<Result<Vec<u8>, bulk::Refusal>> {
        self.go_on()?;
        let key = zeroize::Zeroizing::new(key);
        Ok(
            bulkhead_crypto::cfb_decrypt(named_cipher(cipher), &key, &mut data)
                .map(|()| data)
                .map_err(|_| bulk::Refusal::Invalid),
        )
    }

    fn aead_open(
        &mut self,
        mode: bulk::AeadMode,
        cipher: bulk::Cipher,
        key: Vec<u8>,
        nonce: Vec<u8>,
        associated: Vec<u8>,
        mut sealed: Vec<u8>,
    ) -> Result<Result<Vec<u8>, bulk::Refusal>> {
        self.go_on()?;
        let key = zeroize::Zeroizing::new(key);
        let mode = match mode {
            bulk::AeadMode::Eax => AeadMode::Eax,
            bulk::AeadMode::Ocb => AeadMode::Ocb,
            bulk::AeadMode::Gcm => AeadMode::Gcm,
        };
        let cipher = named_cipher(cipher);
        let opened = bulkhead_crypto::open(mode, cipher, &key, &nonce, &associated, &mut sealed);
        Ok(match opened {
            Ok(true) => Ok(sealed),
            Ok(false) => Err(bulk::Refusal::Unauthentic),
            Err(_) => Err(bulk::Refusal::Invalid),
        })
    }

    fn sha1(&mut self, data: Vec<u8>) -> Result<Vec<u8>> {
        self.go_on()?;
        Ok(bulkhead_crypto::sha1(&data).to_vec())
    }
}

impl From<OverLimit> for kdf::Refusal {
    fn from(over: OverLimit) -> Self {
        Self::OverLimit(kdf::Excess {
            limit: match over.limit {
                KdfLimit::S2kOctets => kdf::Limit::S2kOctets,
                KdfLimit::Argon2MemoryKib => kdf::Limit::Argon2MemoryKib,
                KdfLimit::Argon2Passes => kdf::Limit::Argon2Passes,
            },
            asked: over.asked,
            allowed: over.allowed,
        })
    }
}

fn named_hash(hash: kdf::Hash) -> Hash {
    match hash {
        kdf::Hash::Md5 => Hash::Md5,
        kdf::Hash::Sha1 => Hash::Sha1,
        kdf::Hash::Ripemd160 => Hash::Ripemd160,
        kdf::Hash::Sha224 => Hash::Sha224,
        kdf::Hash::Sha256 => Hash::Sha256,
        kdf::Hash::Sha384 => Hash::Sha384,
        kdf::Hash::Sha512 => Hash::Sha512,
        kdf::Hash::Sha3256 => Hash::Sha3_256,
        kdf::Hash::Sha3512 => Hash::Sha3_512,
    }
}

fn named_cipher(cipher: bulk::Cipher) -> Cipher {
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

#[cfg(test)]
mod against_soft;
