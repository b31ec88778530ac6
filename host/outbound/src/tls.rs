//! The TLS configuration for HTTPS and PostgreSQL.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::SetupError;
use crate::verifier::Verifier;

/// Maximum size of the file of certificates in bytes, about five times the size of all public
/// roots.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Returns a configuration that trusts only the certificates of `ca_file`, or the built-in public
/// roots without it.
pub(crate) fn config(ca_file: Option<&Path>) -> Result<ClientConfig, SetupError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?;
    let Some(file) = ca_file else {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    };
    let unusable = |why: CaFileError| SetupError::CaFile {
        file: PathBuf::from(file),
        why,
    };
    let certificates = read_certificates(file).map_err(unusable)?;
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(&certificates) {
        let added = roots.add(certificate.clone());
        added.map_err(|_| unusable(CaFileError::X509(number)))?;
    }
    let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| SetupError::Tls(rustls::Error::General(error.to_string())))?;
    let verifier = Verifier::new(authorities, certificates);
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
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
    #[error(
        "it has more than {} bytes: check whether it is the right file",
        FILE_BYTES_MAX
    )]
    TooLong,
    /// The file is not text in UTF-8, but in UTF-16.
    #[error("it is text in UTF-16: save it as UTF-8 or ASCII")]
    Utf16,
    /// The file contains a certificate in binary form.
    #[error(
        "it contains a certificate in binary form (DER): convert it with openssl x509 -inform der -in FILE \
         -out FILE.pem"
    )]
    Der,
    /// The certificate with this number, counted from 1, is in OpenSSL's own format.
    #[error(
        "certificate {0} is a TRUSTED CERTIFICATE, a format of OpenSSL alone: convert it with openssl x509 -in \
         FILE -out FILE.pem"
    )]
    Trusted(usize),
    /// The certificate with this number, counted from 1, is incomplete or garbled.
    #[error(
        "certificate {0} is not complete PEM: copy it again, from its BEGIN line to its END line"
    )]
    Pem(usize),
    /// The certificate with this number, counted from 1, is not an X.509 certificate.
    #[error("certificate {0} is not an X.509 certificate: replace or remove it")]
    X509(usize),
    /// The file contains no certificate.
    #[error(
        "it contains no PEM certificate: give a file with certificates between BEGIN and END lines"
    )]
    Empty,
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const BEGIN_TRUSTED: &str = "-----BEGIN TRUSTED CERTIFICATE-----";

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CaFileError> {
    let bytes = read(file)?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(CaFileError::Utf16);
    }
    // The type and the length of a certificate of 256 bytes or more.
    if bytes.starts_with(b"\x30\x82") {
        return Err(CaFileError::Der);
    }
    let text = plain_lines(&bytes);
    let mut number = 0;
    for line in text.lines() {
        number += usize::from(line == BEGIN || line == BEGIN_TRUSTED);
        if line == BEGIN_TRUSTED {
            return Err(CaFileError::Trusted(number));
        }
    }
    let mut certificates = Vec::new();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(text.as_bytes())) {
        certificates.push(certificate.map_err(|_| CaFileError::Pem(number))?);
    }
    if certificates.is_empty() {
        return Err(CaFileError::Empty);
    }
    Ok(certificates)
}

/// Returns the text with each line as the parser of PEM expects it: without byte order marks and
/// without spaces around it, and with the current name of certificates. Files that were joined have a
/// mark in front of each part.
fn plain_lines(bytes: &[u8]) -> String {
    const OLD_LABEL: &str = "X509 CERTIFICATE-----";
    let mut text = String::with_capacity(bytes.len());
    for line in String::from_utf8_lossy(bytes).lines() {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        match line.strip_suffix(OLD_LABEL) {
            Some(start) => text.extend([start, "CERTIFICATE-----"]),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
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
        assert_eq!(read_certificates(&file).unwrap().len(), 2);
        assert!(config(Some(&file)).is_ok());
    }

    #[test]
    fn bundle_of_editors_and_old_tools_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let (first, second) = (certificate(), certificate());
        let indented = second.replace('\n', "\r\n  \t");
        let old = second.replace("CERTIFICATE", "X509 CERTIFICATE");
        for bundle in [
            format!("\u{feff}{first}{second}"),
            format!("\u{feff}{first}\u{feff}{second}"),
            format!("{first}\n  {indented}"),
            format!("{first}{old}"),
        ] {
            std::fs::write(&file, &bundle).unwrap();
            assert_eq!(read_certificates(&file).unwrap().len(), 2, "{bundle}");
        }
    }

    #[test]
    fn file_in_other_format_is_named() {
        let good = certificate();
        let trusted = good.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
        let bundle = format!("{good}{trusted}");
        let text = error_text(Some(bundle.as_bytes()));
        assert!(
            text.starts_with("certificate 2 is a TRUSTED CERTIFICATE"),
            "{text}"
        );
        let utf16: Vec<u8> = format!("\u{feff}{good}")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let text = error_text(Some(&utf16));
        assert!(text.starts_with("it is text in UTF-16"), "{text}");
        let der = CertificateDer::from_pem_slice(good.as_bytes()).unwrap();
        let text = error_text(Some(&der));
        assert!(
            text.starts_with("it contains a certificate in binary form"),
            "{text}"
        );
    }

    #[test]
    fn unusable_file_is_rejected_with_reason() {
        assert!(error_text(None).contains("No such file"));
        let none = "it contains no PEM certificate";
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for content in [&b""[..], b"\xff\0garbage\n", key.as_bytes()] {
            assert!(error_text(Some(content)).starts_with(none));
        }
        let good = certificate();
        let (half, _) = good.split_at(good.len() / 2);
        let text = error_text(Some(half.as_bytes()));
        assert!(
            text.starts_with("certificate 1 is not complete PEM"),
            "{text}"
        );
        let not_x509 =
            format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let text = error_text(Some(not_x509.as_bytes()));
        assert!(
            text.starts_with("certificate 2 is not an X.509 certificate"),
            "{text}"
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
