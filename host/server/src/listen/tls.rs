//! The certificate of the server, which follows its files.

use super::settings::ListenSettings;
use crate::config::files::{self, FileError};
use crate::reload::{Digested, Reloader, Source, Watched};
use bulkhead_http::{Setting, Tls, TlsConfig, TlsError, TlsFiles, Wiped, setting};
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// Maximum size of each file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The files of TLS cannot be used.
#[derive(Debug, Error)]
pub(crate) enum TlsFileError {
    #[error("{setting}, {}, {source}", file.display())]
    File {
        setting: Setting,
        file: PathBuf,
        source: FileError,
    },
    /// `files` are the settings and paths of the faulty files.
    #[error("{files}: {source}")]
    Content { files: String, source: TlsError },
    #[error(
        "cannot start a thread that watches the files of TLS: {0}. Raise the limit on processes (ulimit -u)"
    )]
    Thread(#[from] std::io::Error),
}

/// The files of the certificates, the key and the client authorities, with their settings.
type Files = [Option<(Setting, PathBuf)>; 3];

impl TlsFileError {
    fn content(files: &Files, source: TlsError) -> Self {
        let [certificates, key, authorities] = files;
        let faulty = match source {
            TlsError::NoCertificate | TlsError::Certificate => [certificates, &None],
            TlsError::Key => [key, &None],
            TlsError::OtherKey | TlsError::Pair(_) => [certificates, key],
            TlsError::Authorities => [authorities, &None],
        };
        let names = faulty.into_iter().flatten();
        let names = names.map(|(setting, file)| format!("{setting}, {}", file.display()));
        Self::Content {
            files: names.collect::<Vec<_>>().join(", and "),
            source,
        }
    }
}

/// TLS of a running server, if it is configured.
pub(crate) struct ActiveTls {
    watched: Option<Arc<Watched<TlsSource>>>,
    reloader: Option<Reloader>,
}

impl ActiveTls {
    /// Reads the files of TLS, and watches them. `failures` counts faulty files.
    ///
    /// # Errors
    /// [`TlsFileError`] if a file is faulty, or if no thread can be started.
    pub(crate) fn start(
        settings: &ListenSettings,
        failures: Counter,
    ) -> Result<Self, TlsFileError> {
        let opened = TlsSource::open(settings)?;
        let watched =
            opened.map(|(source, digest)| Arc::new(Watched::new(source, digest, failures)));
        let reloader = watched.as_ref().map(Watched::watch);
        Ok(Self {
            reloader: reloader.transpose()?,
            watched,
        })
    }

    /// Returns what listeners need.
    pub(crate) fn tls(&self) -> Option<Arc<Tls>> {
        let watched = self.watched.as_ref()?;
        Some(Arc::clone(&watched.source().tls))
    }

    /// Reads the files again, soon and on another thread.
    pub(crate) fn reload(&self) {
        if let Some(reloader) = &self.reloader {
            reloader.wake();
        }
    }

    /// Returns the member `tls` of `/health`, and whether a file is faulty.
    pub(crate) fn health(&self) -> (Value, bool) {
        match &self.watched {
            None => (json!({"status": "off"}), false),
            Some(watched) => (watched.health(), watched.failing().is_some()),
        }
    }
}

/// Returns an error text if the files of TLS are faulty.
pub(crate) fn problem(settings: &ListenSettings) -> Option<String> {
    let opened = TlsSource::open(settings);
    opened.err().map(|error| error.to_string())
}

/// TLS, and the files that it comes from.
struct TlsSource {
    files: Files,
    tls: Arc<Tls>,
}

impl TlsSource {
    /// Reads the files. Returns TLS with the digest of the files, or `None` if none is configured.
    ///
    /// # Errors
    /// [`TlsFileError`] if a file cannot be read or is malformed, or if they do not belong together.
    fn open(settings: &ListenSettings) -> Result<Option<(Self, [u8; 32])>, TlsFileError> {
        if settings.tls_cert.is_none() {
            return Ok(None);
        }
        let files = [
            (setting!(ListenSettings, tls_cert), &settings.tls_cert),
            (setting!(ListenSettings, tls_key), &settings.tls_key),
            (
                setting!(ListenSettings, tls_client_ca),
                &settings.tls_client_ca,
            ),
        ]
        .map(|(setting, file)| file.clone().map(|file| (setting, file)));
        let contents = read(&files)?;
        let tls = Tls::new(
            config(&files, &contents)?,
            settings.tls_handshakes_max,
            settings.tls_handshake_timeout,
        );
        let tls = Arc::new(tls);
        Ok(Some((Self { files, tls }, digest(&contents))))
    }
}

impl Source for TlsSource {
    const NAME: &'static str = "tls files";
    type Content = Contents;
    type Error = TlsFileError;

    fn read(&self) -> Result<Digested<Contents>, TlsFileError> {
        let contents = read(&self.files)?;
        Ok((digest(&contents), contents))
    }

    fn activate(&self, contents: &Contents) -> Result<(), TlsFileError> {
        self.tls.replace(config(&self.files, contents)?);
        Ok(())
    }

    fn reason(error: &TlsFileError) -> String {
        match error {
            TlsFileError::File {
                setting, source, ..
            } => format!("the file of {} {source}", setting.flag()),
            TlsFileError::Content { source, .. } => source.to_string(),
            TlsFileError::Thread(error) => error.to_string(),
        }
    }
}

/// The certificates, the key and the client authorities.
type Contents = [Option<Wiped>; 3];

fn read(files: &Files) -> Result<Contents, TlsFileError> {
    let one = |file: &Option<(Setting, PathBuf)>| {
        let Some((setting, file)) = file else {
            return Ok(None);
        };
        let read = files::read(Path::new(file), FILE_BYTES_MAX);
        read.map(Some).map_err(|source| TlsFileError::File {
            setting: *setting,
            file: file.clone(),
            source,
        })
    };
    let [certificates, key, authorities] = files;
    Ok([one(certificates)?, one(key)?, one(authorities)?])
}

fn config(files: &Files, contents: &Contents) -> Result<TlsConfig, TlsFileError> {
    let [certificates, key, authorities] = contents;
    let config = TlsConfig::new(&TlsFiles {
        certificates: certificates.as_deref().unwrap_or_default(),
        key: key.as_deref().unwrap_or_default(),
        client_authorities: authorities.as_deref(),
    });
    config.map_err(|error| TlsFileError::content(files, error))
}

fn digest(contents: &Contents) -> [u8; 32] {
    let mut digest = Sha256::new();
    for content in contents {
        let content = content.as_deref();
        // The lengths separate the contents.
        digest.update([u8::from(content.is_some())]);
        digest.update((content.map_or(0, <[u8]>::len) as u64).to_be_bytes());
        digest.update(content.unwrap_or_default());
    }
    digest.finalize().into()
}
