//! The TLS configuration for HTTPS and PostgreSQL.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::SetupError;

/// Maximum size of the file of certificates in bytes, about five times the size of all public
/// roots.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Returns a configuration that trusts only the certificates of `ca_file`, or the built-in public
/// roots without it.
pub(crate) fn config(ca_file: Option<&Path>) -> Result<ClientConfig, SetupError> {
    let roots = match ca_file {
        Some(file) => read_roots(file).map_err(|why| SetupError::CaFile {
            file: PathBuf::from(file),
            why,
        })?,
        None => RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        },
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Returns the same configuration with ALPN for HTTP/1.1. A server of another protocol that shares
/// a certificate with a web server then cannot be mistaken for one.
pub(crate) fn for_http(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// The reason why a file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// The file is a folder, a pipe or a device.
    #[error("it is not a regular file: give the path of a PEM file")]
    NotAFile,
    /// The file exceeds the maximum size.
    #[error("it has more than {} bytes: is it the right file?", FILE_BYTES_MAX)]
    TooLong,
    /// The certificate with this number, counted from 1, is incomplete or garbled.
    #[error("certificate {0} is not complete PEM")]
    Pem(usize),
    /// The certificate with this number, counted from 1, is not an X.509 certificate.
    #[error("certificate {0} is not an X.509 certificate")]
    X509(usize),
    /// The file contains no certificate.
    #[error("it contains no PEM certificate")]
    Empty,
}

fn read_roots(file: &Path) -> Result<RootCertStore, CaFileError> {
    let text = read(file)?;
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(&text)) {
        let certificate = certificate.map_err(|_| CaFileError::Pem(number))?;
        let added = roots.add(certificate);
        added.map_err(|_| CaFileError::X509(number))?;
    }
    if roots.is_empty() {
        return Err(CaFileError::Empty);
    }
    Ok(roots)
}

/// Reads a regular file. Reading a pipe or a device might never end.
fn read(file: &Path) -> Result<Vec<u8>, CaFileError> {
    // This is checked first, because opening a pipe waits for a writer.
    if !std::fs::metadata(file)?.is_file() {
        return Err(CaFileError::NotAFile);
    }
    let mut bytes = Vec::new();
    let mut file = File::open(file)?.take(FILE_BYTES_MAX + 1);
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(CaFileError::TooLong);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_text(content: Option<&[u8]>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let error = config(Some(&file)).unwrap_err().to_string();
        let prefix = format!("{}: ", file.display());
        error.strip_prefix(&prefix).unwrap().to_owned()
    }

    fn certificate() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["h".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn bundle_with_other_text_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let bundle = format!("# a\n{}text\n{}{key}", certificate(), certificate());
        std::fs::write(&file, bundle).unwrap();
        assert_eq!(read_roots(&file).unwrap().len(), 2);
        assert!(config(Some(&file)).is_ok());
    }

    #[test]
    fn unusable_file_is_rejected_with_reason() {
        assert!(error_text(None).contains("No such file"));
        let none = "it contains no PEM certificate";
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for content in [&b""[..], b"\xff\0garbage\n", key.as_bytes()] {
            assert_eq!(error_text(Some(content)), none);
        }
        let good = certificate();
        let (half, _) = good.split_at(good.len() / 2);
        assert_eq!(
            error_text(Some(half.as_bytes())),
            "certificate 1 is not complete PEM"
        );
        let not_x509 =
            format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert_eq!(
            error_text(Some(not_x509.as_bytes())),
            "certificate 2 is not an X.509 certificate"
        );
    }

    #[test]
    fn device_folder_and_large_file_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        for file in [Path::new("/dev/null"), folder.path()] {
            let error = config(Some(file)).unwrap_err().to_string();
            assert!(error.contains("is not a regular file"), "{error}");
        }
        let mut bundle = certificate().into_bytes();
        bundle.resize(1 << 20, b'\n');
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, &bundle).unwrap();
        assert!(config(Some(&file)).is_ok());
        bundle.push(b'\n');
        assert!(error_text(Some(&bundle)).starts_with("it has more than 1048576 bytes"));
    }

    #[test]
    fn default_trusts_public_roots_and_has_no_alpn() {
        let config = config(None).unwrap();
        assert!(config.alpn_protocols.is_empty());
        assert_eq!(for_http(&config).alpn_protocols, [b"http/1.1"]);
        assert!(webpki_roots::TLS_SERVER_ROOTS.len() > 50);
    }
}
