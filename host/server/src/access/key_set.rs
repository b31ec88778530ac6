//! The access keys of a server, as its file lists them.

use super::key::KeyDigest;
use super::scope::Scopes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

/// An entry of the file: a named caller with its keys and rights.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) scopes: Scopes,
    pub(crate) keys: Vec<EntryKey>,
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
}

impl KeySet {
    /// Adds an entry.
    ///
    /// # Errors
    /// [`Conflict`] if another entry has the same name, or if a key occurs twice. The set is then unchanged.
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
        let entry = Arc::new(entry);
        for key in &entry.keys {
            self.by_digest
                .insert(key.digest, (*key, Arc::clone(&entry)));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Returns the entries in the order of the file.
    pub(crate) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
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
        assert_eq!(found, Err(InvalidKey::Unknown));
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
    fn name_or_key_that_occurs_twice_is_rejected() {
        let mut set = KeySet::default();
        set.add(entry("a", &["1"])).expect("entry should be added");
        assert_eq!(set.add(entry("a", &["2"])), Err(Conflict::Name));
        assert_eq!(set.add(entry("b", &["1"])), Err(Conflict::Key));
        assert_eq!(set.add(entry("b", &["2", "2"])), Err(Conflict::Key));
        assert_eq!(set.entries().len(), 1);
    }
}
