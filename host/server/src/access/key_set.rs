//! The access keys of a server, as its file lists them.

use super::key::KeyDigest;
use super::limits::Limits;
use super::scope::Scopes;
use super::usage::{Usage, Usages};
use bulkhead_http::ClientCertificate;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// An entry of the file: a named caller with its keys and rights.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) scopes: Scopes,
    pub(crate) keys: Vec<EntryKey>,
    pub(crate) certificates: Vec<CertificateId>,
    /// The limits of the file, or else the defaults.
    pub(crate) limits: Limits,
    /// The use of the keys, which a server counts. It continues when the file is read again.
    pub(super) usage: OnceLock<Arc<Usage>>,
}

/// A client certificate of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum CertificateId {
    /// The SHA-256 of the certificate in DER.
    Sha256([u8; 32]),
    /// A URI of the subject alternative name, compared byte by byte.
    Uri(String),
}

/// A key of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryKey {
    pub(crate) digest: KeyDigest,
    /// The key is not valid from this time on. `None` if it does not expire.
    pub(crate) expires: Option<SystemTime>,
}

impl EntryKey {
    pub(crate) fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// A key does not admit its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidKey {
    Unknown,
    Expired,
}

/// All entries of a file. Without entries, no key is valid.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    entries: Vec<Arc<Entry>>,
    by_digest: HashMap<KeyDigest, (EntryKey, Arc<Entry>)>,
    by_certificate: HashMap<CertificateId, Arc<Entry>>,
}

impl KeySet {
    /// Adds an entry.
    ///
    /// # Errors
    /// [`Conflict`] if another entry has the same name, or if a key or a certificate occurs twice. The set is then
    /// unchanged.
    pub(crate) fn add(&mut self, entry: Entry) -> Result<(), Conflict> {
        if self.entries.iter().any(|other| other.name == entry.name) {
            return Err(Conflict::Name);
        }
        for (at, key) in entry.keys.iter().enumerate() {
            let is_own = entry.keys[..at].iter().any(|own| own.digest == key.digest);
            if is_own || self.by_digest.contains_key(&key.digest) {
                return Err(Conflict::Key);
            }
        }
        for (at, certificate) in entry.certificates.iter().enumerate() {
            let is_own = entry.certificates[..at].contains(certificate);
            if is_own || self.by_certificate.contains_key(certificate) {
                return Err(Conflict::Certificate);
            }
        }
        let entry = Arc::new(entry);
        for certificate in &entry.certificates {
            self.by_certificate
                .insert(certificate.clone(), Arc::clone(&entry));
        }
        for key in &entry.keys {
            self.by_digest
                .insert(key.digest, (*key, Arc::clone(&entry)));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Counts the use of all entries from now on, and continues the counts of the entries that `usages` knows.
    pub(super) fn count_usage(&self, usages: &Usages) {
        let names = self.entries.iter().map(|entry| entry.name.as_str());
        for (entry, usage) in self.entries.iter().zip(usages.of(names)) {
            usage.change_limits(&entry.limits);
            entry.usage.get_or_init(|| usage);
        }
    }

    /// Returns the entries in the order of the file.
    pub(crate) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// Returns the entry that lists a certificate by its SHA-256 or by one of its URIs. Returns `None` if
    /// several entries list it.
    pub(crate) fn entry_of_certificate(
        &self,
        certificate: &ClientCertificate,
    ) -> Option<Arc<Entry>> {
        let uris = certificate.uris.iter().cloned().map(CertificateId::Uri);
        let ids = std::iter::once(CertificateId::Sha256(certificate.sha256)).chain(uris);
        let mut entries = ids.filter_map(|id| self.by_certificate.get(&id));
        let entry = entries.next()?;
        entries
            .all(|other| Arc::ptr_eq(entry, other))
            .then(|| Arc::clone(entry))
    }

    /// Returns the entry to which a key belongs. The lookup does not take constant time: an attacker who
    /// chooses keys cannot choose their digests.
    ///
    /// # Errors
    /// [`InvalidKey`] if no entry has the key, or if the key has expired.
    pub(crate) fn entry(
        &self,
        digest: &KeyDigest,
        now: SystemTime,
    ) -> Result<Arc<Entry>, InvalidKey> {
        let (key, entry) = self.by_digest.get(digest).ok_or(InvalidKey::Unknown)?;
        if key.is_expired(now) {
            return Err(InvalidKey::Expired);
        }
        Ok(Arc::clone(entry))
    }
}

/// An entry contradicts another one, or itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// Two entries have one name.
    Name,
    /// A key occurs twice.
    Key,
    /// A certificate occurs twice.
    Certificate,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::scope::Scope;
    use std::time::Duration;

    fn entry(name: &str, keys: &[&str]) -> Entry {
        Entry {
            name: name.to_owned(),
            scopes: Scopes::of(&[Scope::Sign]),
            keys: keys.iter().map(|key| entry_key(key, None)).collect(),
            ..Entry::default()
        }
    }

    fn entry_key(key: &str, expires: Option<SystemTime>) -> EntryKey {
        EntryKey {
            digest: KeyDigest::of(key.as_bytes()),
            expires,
        }
    }

    #[test]
    fn each_of_two_keys_belongs_to_its_entry() {
        let mut set = KeySet::default();
        set.add(entry("a", &["1", "2"]))
            .expect("entry should be added");
        set.add(entry("b", &["3"])).expect("entry should be added");
        let now = SystemTime::now();
        let name = |key: &str| {
            let entry = set.entry(&KeyDigest::of(key.as_bytes()), now);
            entry.map(|entry| entry.name.clone())
        };
        for (key, expected) in [("1", "a"), ("2", "a"), ("3", "b")] {
            assert_eq!(name(key).as_deref(), Ok(expected));
        }
        assert_eq!(name("4"), Err(InvalidKey::Unknown));
        let none = KeySet::default();
        let found = none.entry(&KeyDigest::of(b"1"), now);
        assert_eq!(found.err(), Some(InvalidKey::Unknown));
    }

    #[test]
    fn key_is_invalid_from_its_expiry_on() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let mut one = entry("a", &["1"]);
        one.keys.push(entry_key("2", Some(at)));
        let mut set = KeySet::default();
        set.add(one).expect("entry should be added");
        let is_valid = |key: &str, now| set.entry(&KeyDigest::of(key.as_bytes()), now).is_ok();
        assert!(is_valid("2", at - Duration::from_nanos(1)));
        assert!(!is_valid("2", at));
        assert!(is_valid("1", at));
    }

    #[test]
    fn certificate_has_the_entry_that_lists_its_digest_or_uri() {
        let id = |uri: &str| CertificateId::Uri(uri.to_owned());
        let mut set = KeySet::default();
        for (name, certificates) in [
            ("a", vec![CertificateId::Sha256([1; 32]), id("spiffe://a")]),
            ("b", vec![id("spiffe://b")]),
        ] {
            let mut entry = entry(name, &[]);
            entry.certificates = certificates;
            set.add(entry).expect("entry should be added");
        }
        let name = |sha256: u8, uris: &[&str]| {
            let uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
            let certificate = ClientCertificate {
                sha256: [sha256; 32],
                uris,
            };
            let entry = set.entry_of_certificate(&certificate);
            entry.map(|entry| entry.name.clone())
        };
        assert_eq!(name(1, &[]).as_deref(), Some("a"));
        assert_eq!(name(1, &["spiffe://a"]).as_deref(), Some("a"));
        assert_eq!(name(2, &["spiffe://x", "spiffe://b"]).as_deref(), Some("b"));
        assert_eq!(name(2, &["spiffe://B", "spiffe://b/"]), None);
        assert_eq!(name(2, &[]), None);
        assert_eq!(name(1, &["spiffe://b"]), None);
        let mut again = entry("c", &[]);
        again.certificates = vec![id("spiffe://b")];
        assert_eq!(set.add(again), Err(Conflict::Certificate));
    }

    #[test]
    fn name_or_key_that_occurs_twice_is_rejected() {
        let mut set = KeySet::default();
        set.add(entry("a", &["1"])).expect("entry should be added");
        assert_eq!(set.add(entry("a", &["2"])), Err(Conflict::Name));
        assert_eq!(set.add(entry("b", &["1"])), Err(Conflict::Key));
        assert_eq!(set.add(entry("b", &["2", "2"])), Err(Conflict::Key));
        assert_eq!(set.entries().len(), 1);
    }
}
