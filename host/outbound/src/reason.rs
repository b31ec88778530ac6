//! Reasons why there is no connection, in words without addresses: whoever named the host may read them.

use std::io;

use rustls::CertificateError;

pub(crate) const NOT_IN_TIME: &str = "there was no connection in time";

/// What went wrong below HTTP and TLS, in words without addresses.
pub(crate) fn io_reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused",
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => "the connection was reset",
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => "there is no way to the host",
        io::ErrorKind::TimedOut => NOT_IN_TIME,
        _ => "the connection failed",
    }
}

/// Why a handshake failed, in words that quote nothing of the certificate: they may be shown to
/// whoever named the host.
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
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "TLS: the certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "TLS: the certificate is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "TLS: the certificate is for another name"
            }
            // Of two authorities with one name, the wrong one has signed it.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "TLS: the certificate is from an authority that is not trusted"
            }
            _ => "TLS: the certificate is not acceptable",
        },
        rustls::Error::InvalidMessage(_) => "TLS: the answer is not TLS",
        rustls::Error::AlertReceived(_) => "TLS: the server refused the handshake",
        rustls::Error::PeerIncompatible(_) => "TLS: no common version or cipher suite",
        _ => "TLS: the handshake failed",
    }
}
