//! Whom https and PostgreSQL are to trust.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::SetupError;

/// All public roots together have about a fifth of this.
const FILE_OCTETS_MAX: u64 = 1 << 20;

/// Settings that trust the public roots in the program, or only those of a file.
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

/// The same, for HTTP alone: a server of another protocol that shares a certificate with a web
/// server cannot be mistaken for it.
pub(crate) fn for_http(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// The reason why nothing could be trusted by a file of certificates.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// A folder, a pipe or a device.
    #[error("it is not a regular file. Name one")]
    NotAFile,
    /// Far longer than all public roots together.
    #[error("it has more than {} octets: is it the right file?", FILE_OCTETS_MAX)]
    TooLong,
    /// The certificate with this number, from 1, is cut off or garbled.
    #[error("certificate {0} is not whole PEM")]
    Pem(usize),
    /// The certificate with this number, from 1, is something else.
    #[error("certificate {0} is not an X.509 certificate")]
    X509(usize),
    /// It holds no certificate.
    #[error("there is no certificate in PEM in it")]
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

/// What is in a regular file: what comes out of a pipe or a device may never end.
fn read(file: &Path) -> Result<Vec<u8>, CaFileError> {
    // Before it is opened, which would wait for somebody who writes to a pipe.
    if !std::fs::metadata(file)?.is_file() {
        return Err(CaFileError::NotAFile);
    }
    let mut octets = Vec::new();
    let mut file = File::open(file)?.take(FILE_OCTETS_MAX + 1);
    file.read_to_end(&mut octets)?;
    if octets.len() as u64 > FILE_OCTETS_MAX {
        return Err(CaFileError::TooLong);
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(content: Option<&[u8]>) -> String {
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
    fn a_bundle_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let bundle = format!("# a\n{}text\n{}{key}", certificate(), certificate());
        std::fs::write(&file, bundle).unwrap();
        assert_eq!(read_roots(&file).unwrap().len(), 2);
        assert!(config(Some(&file)).is_ok());
    }

    #[test]
    fn a_file_without_use_says_why() {
        assert!(refusal(None).contains("No such file"));
        let none = "there is no certificate in PEM in it";
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for content in [&b""[..], b"\xff\0garbage\n", key.as_bytes()] {
            assert_eq!(refusal(Some(content)), none);
        }
        let good = certificate();
        let (half, _) = good.split_at(good.len() / 2);
        assert_eq!(
            refusal(Some(half.as_bytes())),
            "certificate 1 is not whole PEM"
        );
        let not_x509 =
            format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert_eq!(
            refusal(Some(not_x509.as_bytes())),
            "certificate 2 is not an X.509 certificate"
        );
    }

    #[test]
    fn what_may_never_end_is_not_read() {
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
        assert!(refusal(Some(&bundle)).starts_with("it has more than 1048576 octets"));
    }

    #[test]
    fn without_a_file_the_public_roots_are_trusted_and_the_shared_settings_name_no_protocol() {
        let config = config(None).unwrap();
        assert!(config.alpn_protocols.is_empty());
        assert_eq!(for_http(&config).alpn_protocols, [b"http/1.1"]);
        assert!(webpki_roots::TLS_SERVER_ROOTS.len() > 50);
    }
}
