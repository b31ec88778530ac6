//! Texts about failed connections. They contain no addresses, because the caller that has named the
//! host may read them.

use std::io;

use rustls::CertificateError;

use crate::verifier::webpki_error;

pub(crate) const NOT_IN_TIME: &str = "the connection was not established in time";

/// Describes an I/O error without addresses.
pub(crate) fn io_reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused",
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => "the connection was reset",
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => "there is no route to the host",
        io::ErrorKind::TimedOut => NOT_IN_TIME,
        _ => "the connection failed",
    }
}

/// Describes a failed handshake without quoting the certificate, because the caller that has named
/// the host may read the text.
pub(crate) fn tls_reason(error: &io::Error) -> &'static str {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(error) = inner else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "TLS: the connection was closed",
            _ => io_reason(error),
        };
    };
    match error {
        rustls::Error::InvalidCertificate(error) => certificate_reason(error),
        rustls::Error::InvalidMessage(_) => "TLS: the response is not TLS",
        rustls::Error::AlertReceived(_) => "TLS: the server rejected the handshake",
        rustls::Error::PeerIncompatible(_) => "TLS: no common version or cipher suite",
        _ => "TLS: the handshake failed",
    }
}

/// Returns the check that a certificate failed, and what to do.
fn certificate_reason(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "TLS: the certificate has expired: renew it"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "TLS: the certificate is not valid yet: check the clocks"
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "TLS: the certificate lists no name (subjectAltName): issue one that lists the host of the URL"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "TLS: the certificate is for another name: issue one that lists the host of the URL"
        }
        CertificateError::UnknownIssuer => {
            "TLS: the certificate is from an authority that is not trusted: the server should send its \
             intermediate certificates, and the operator adds a private authority to --ca-file"
        }
        CertificateError::BadSignature => {
            "TLS: a signature does not match: another authority of the same name has issued the certificate, \
             or the server does not have its key: the operator adds that authority to --ca-file"
        }
        CertificateError::BadEncoding => "TLS: the certificate is malformed: issue another one",
        CertificateError::UnhandledCriticalExtension => {
            "TLS: the certificate has a critical extension that is not supported: issue one without it"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "TLS: the certificate is not for servers: issue one with the extended key usage serverAuth"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "TLS: the algorithm of the certificate's signature is not supported: issue one with ECDSA or RSA \
             and SHA-256 or longer"
        }
        other => match webpki_error(other) {
            Some(webpki::Error::CaUsedAsEndEntity) => {
                "TLS: the certificate is marked as one of an authority (CA:TRUE): issue one without this mark, or \
                 the operator adds exactly this certificate to --ca-file"
            }
            Some(webpki::Error::EndEntityUsedAsCa) => {
                "TLS: an issuer of the certificate is not marked as an authority (CA:TRUE): issue its certificate \
                 again"
            }
            Some(webpki::Error::UnsupportedCertVersion) => {
                "TLS: the certificate is not of version 3: issue one with extensions"
            }
            Some(webpki::Error::NameConstraintViolation) => {
                "TLS: the issuer of the certificate may not issue it for this name (name constraints)"
            }
            Some(webpki::Error::PathLenConstraintViolated) => {
                "TLS: the chain of the certificate is longer than an issuer allows (path length)"
            }
            _ => {
                "TLS: the certificate breaks a rule of X.509: check it with openssl verify, and issue another one"
            }
        },
    }
}
