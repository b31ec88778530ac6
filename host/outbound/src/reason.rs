//! Texts about failed connections. They contain no addresses, because the caller that has named the
//! host may read them.

use std::io;

use rustls::CertificateError;

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
            // The signature is bad if another authority with the same name has signed the
            // certificate.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "TLS: the certificate is from an authority that is not trusted"
            }
            _ => "TLS: the certificate is not acceptable",
        },
        rustls::Error::InvalidMessage(_) => "TLS: the response is not TLS",
        rustls::Error::AlertReceived(_) => "TLS: the server rejected the handshake",
        rustls::Error::PeerIncompatible(_) => "TLS: no common version or cipher suite",
        _ => "TLS: the handshake failed",
    }
}
