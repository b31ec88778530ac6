//! The active access keys, which follow their file.

use super::file::{self, KeyFileError};
use super::key_set::KeySet;
use super::limits::Limits;
use super::metrics::AccessMetrics;
use crate::reload::settled;
use arc_swap::{ArcSwap, Guard};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The active access keys, and the file that they come from.
pub(super) struct WatchedKeys {
    file: PathBuf,
    /// The limits of keys for which the file has none.
    default_limits: Limits,
    active: ArcSwap<KeySet>,
    state: Mutex<FileState>,
    metrics: AccessMetrics,
}

/// The last reading of the file.
struct FileState {
    /// The digest of the content that the active keys come from.
    active: [u8; 32],
    /// The fault of the last reading.
    failing: Option<String>,
}

impl WatchedKeys {
    /// Reads the file.
    ///
    /// # Errors
    /// [`KeyFileError`] if the file is missing or invalid.
    pub(super) fn open(
        file: &Path,
        default_limits: Limits,
        metrics: AccessMetrics,
    ) -> Result<Self, KeyFileError> {
        let content = file::content(file)?;
        let keys = file::parse(file, &content, default_limits)?;
        count(&metrics, &keys);
        Ok(Self {
            file: file.to_owned(),
            default_limits,
            active: ArcSwap::from_pointee(keys),
            state: Mutex::new(FileState {
                active: sha256(&content),
                failing: None,
            }),
            metrics,
        })
    }

    pub(super) fn active(&self) -> Guard<Arc<KeySet>> {
        self.active.load()
    }

    /// Returns the fault of the file, without its path.
    pub(super) fn failing(&self) -> Option<String> {
        self.state().failing.clone()
    }

    fn state(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file again. Nothing changes if it is faulty or has not changed.
    pub(super) fn reload(&self) {
        let active = self.state().active;
        let content: Result<_, KeyFileError> = settled(active, || {
            let content = file::content(&self.file)?;
            Ok((sha256(&content), content))
        });
        let read = content.and_then(|(digest, content)| {
            let keys =
                (digest != active).then(|| file::parse(&self.file, &content, self.default_limits));
            Ok((digest, keys.transpose()?))
        });
        let mut state = self.state();
        match read {
            Ok((digest, keys)) => {
                let was_failing = state.failing.take().is_some();
                state.active = digest;
                let is_new = keys.is_some();
                if let Some(keys) = keys {
                    count(&self.metrics, &keys);
                    self.active.store(Arc::new(keys));
                }
                if is_new || was_failing {
                    let entries = self.active.load().entries().len();
                    tracing::info!(entries, "access keys read again");
                }
            }
            Err(error) => {
                let why = error.fault();
                if state.failing.as_ref() != Some(&why) {
                    self.metrics.reload_failures.inc();
                    let error = error.to_string();
                    tracing::error!(
                        error,
                        "cannot read access keys again; the previous keys stay active"
                    );
                    state.failing = Some(why);
                }
            }
        }
    }
}

fn sha256(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

/// Lets the metrics follow the entries.
fn count(metrics: &AccessMetrics, keys: &KeySet) {
    keys.count_usage(&metrics.usages);
    let entries = i64::try_from(keys.entries().len()).unwrap_or(i64::MAX);
    metrics.entries.set(entries);
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
        keys.active().entry(&digest, SystemTime::now()).is_ok()
    }

    #[test]
    fn good_file_replaces_all_keys_and_faulty_file_changes_nothing() {
        let folder = tempfile::tempdir().expect("folder should be created");
        let file = folder.path().join("keys.json");
        let write = |content: &str| std::fs::write(&file, content).expect("file should be written");
        write(&document(&["a", "b"]));
        let metrics = AccessMetrics::default();
        let keys = WatchedKeys::open(&file, Limits::default(), metrics.clone())
            .expect("file should be valid");
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
        let open = || WatchedKeys::open(&file, Limits::default(), AccessMetrics::default());
        assert!(open().is_err());
        std::fs::write(&file, "{").expect("file should be written");
        assert!(open().is_err());
    }
}
