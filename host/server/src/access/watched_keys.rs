//! The active access keys, which follow their file.

use super::file::{self, KeyFileError};
use super::key_set::KeySet;
use super::limits::Limits;
use super::metrics::AccessMetrics;
use crate::reload::{Digested, Source, Watched};
use arc_swap::{ArcSwap, Guard};
use bulkhead_http::Wiped;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The active access keys, and the file that they come from.
pub(super) struct ActiveKeys {
    file: PathBuf,
    /// The limits of keys that have no other limits in the file.
    default_limits: Limits,
    active: ArcSwap<KeySet>,
    metrics: AccessMetrics,
}

/// The active access keys, which follow their file.
pub(super) type WatchedKeys = Watched<ActiveKeys>;

/// Reads the file, and makes its keys active.
///
/// # Errors
/// [`KeyFileError`] if the file is missing or invalid.
pub(super) fn open(
    file: &Path,
    default_limits: Limits,
    metrics: AccessMetrics,
) -> Result<WatchedKeys, KeyFileError> {
    let failures = metrics.reload_failures.clone();
    let keys = ActiveKeys {
        file: file.to_owned(),
        default_limits,
        active: ArcSwap::default(),
        metrics,
    };
    let (digest, content) = keys.read()?;
    keys.activate(&content)?;
    Ok(Watched::new(keys, digest, failures))
}

impl ActiveKeys {
    pub(super) fn active(&self) -> Guard<Arc<KeySet>> {
        self.active.load()
    }
}

impl Source for ActiveKeys {
    const NAME: &'static str = "access keys";
    type Content = Wiped;
    type Error = KeyFileError;

    fn read(&self) -> Result<Digested<Wiped>, KeyFileError> {
        let content = file::content(&self.file)?;
        Ok((Sha256::digest(&content).into(), content))
    }

    /// Makes the keys active. Entries that are no longer listed lose their metrics.
    fn activate(&self, content: &Wiped) -> Result<(), KeyFileError> {
        let keys = file::parse(&self.file, content, self.default_limits)?;
        keys.count_usage(&self.metrics.usages);
        let entries = i64::try_from(keys.entries().len()).unwrap_or(i64::MAX);
        self.metrics.entries.set(entries);
        self.active.store(Arc::new(keys));
        Ok(())
    }

    fn reason(error: &KeyFileError) -> String {
        error.fault()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::key::KeyDigest;
    use std::time::SystemTime;

    fn document(keys: &[&str]) -> String {
        let entries = keys.iter().map(|key| {
            let sha256 = KeyDigest::of(key.as_bytes()).to_string();
            serde_json::json!({"name": key, "keys": [{"sha256": sha256}], "scopes": ["sign"]})
        });
        serde_json::json!({"entries": entries.collect::<Vec<_>>()}).to_string()
    }

    fn admits(keys: &WatchedKeys, key: &str) -> bool {
        let digest = KeyDigest::of(key.as_bytes());
        keys.source()
            .active()
            .entry(&digest, SystemTime::now())
            .is_ok()
    }

    #[test]
    fn good_file_replaces_all_keys_and_faulty_file_changes_nothing() {
        let folder = tempfile::tempdir().expect("folder should be created");
        let file = folder.path().join("keys.json");
        let write = |content: &str| std::fs::write(&file, content).expect("file should be written");
        write(&document(&["a", "b"]));
        let metrics = AccessMetrics::default();
        let keys = open(&file, Limits::default(), metrics.clone()).expect("file should be valid");
        assert!(admits(&keys, "a") && admits(&keys, "b") && !admits(&keys, "c"));
        write(&document(&["b", "c"]));
        keys.reload();
        assert!(!admits(&keys, "a") && admits(&keys, "b") && admits(&keys, "c"));
        assert_eq!(keys.failing(), None);

        // A revocation beside a syntax error.
        let broken = document(&["c"]).replace("}]}", "}],}");
        write(&broken);
        keys.reload();
        keys.reload();
        assert!(admits(&keys, "b") && keys.failing().is_some());
        assert_eq!(metrics.reload_failures.get(), 1);
        std::fs::remove_file(&file).expect("file should be removed");
        keys.reload();
        assert!(admits(&keys, "b") && keys.failing().is_some());
        assert_eq!(metrics.reload_failures.get(), 2);
        write(&document(&["b", "c"]));
        keys.reload();
        assert_eq!(keys.failing(), None);

        write("");
        keys.reload();
        assert!(!admits(&keys, "b") && keys.failing().is_none());
        assert_eq!(metrics.entries.get(), 0);
    }

    #[test]
    fn missing_or_invalid_file_is_an_error_at_start() {
        let folder = tempfile::tempdir().expect("folder should be created");
        let file = folder.path().join("keys.json");
        let open_file = || open(&file, Limits::default(), AccessMetrics::default());
        assert!(open_file().is_err());
        std::fs::write(&file, "{").expect("file should be written");
        assert!(open_file().is_err());
    }
}
