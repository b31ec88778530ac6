//! Connections of the command line to a server: TCP, TLS or a Unix socket, with a deadline.

use crate::config::files;
use bulkhead_http::Address;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    StreamOwned,
};
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum size of the file with the server's certificate.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A connection to a server.
pub(super) trait Transport: Read + Write {
    /// Limits the time of each read and each write.
    fn set_timeouts(&self, time: Option<Duration>) -> Result<()>;

    /// Lets reads and writes fail after the deadline.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] if the deadline has passed.
    fn set_deadline(&self, deadline: Instant) -> Result<()> {
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => self.set_timeouts(Some(left)),
        }
    }
}

impl Transport for TcpStream {
    fn set_timeouts(&self, time: Option<Duration>) -> Result<()> {
        self.set_read_timeout(time)?;
        self.set_write_timeout(time)
    }
}

impl Transport for UnixStream {
    fn set_timeouts(&self, time: Option<Duration>) -> Result<()> {
        self.set_read_timeout(time)?;
        self.set_write_timeout(time)
    }
}

impl Transport for StreamOwned<ClientConnection, TcpStream> {
    fn set_timeouts(&self, time: Option<Duration>) -> Result<()> {
        self.sock.set_timeouts(time)
    }
}

/// The protection of a TCP connection.
#[derive(Debug)]
pub(super) enum Security {
    Plain,
    /// TLS. The certificate of the server is not checked, so that the connection must not carry secrets.
    TlsWithAnyCertificate,
    /// TLS with a server that has exactly this certificate.
    TlsWith(CertificateDer<'static>),
}

/// Connects. Unix sockets are not protected further.
///
/// # Errors
/// If the server cannot be reached in time. The certificate is checked when the first byte is sent.
pub(super) fn connect(
    address: &Address,
    security: Security,
    time: Duration,
) -> Result<Box<dyn Transport>> {
    let address = match address {
        Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path)?)),
        Address::Tcp(address) => reachable(*address),
    };
    let accepted = match security {
        Security::Plain => return Ok(Box::new(TcpStream::connect_timeout(&address, time)?)),
        Security::TlsWithAnyCertificate => None,
        Security::TlsWith(certificate) => Some(certificate),
    };
    let config = Arc::new(config(accepted)?);
    let name = ServerName::from(address.ip());
    let connection = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
    let stream = TcpStream::connect_timeout(&address, time)?;
    Ok(Box::new(StreamOwned::new(connection, stream)))
}

/// Returns an address to connect to. A server that listens on all addresses is reached on the loopback
/// address.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// Returns the first certificate of a file in PEM.
///
/// # Errors
/// A text that continues a sentence whose subject is the file.
pub(super) fn certificate(file: &Path) -> std::result::Result<CertificateDer<'static>, String> {
    let content = files::read(file, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    CertificateDer::from_pem_slice(&content)
        .map_err(|_| "has no certificate in PEM. Name the server's certificate file".to_owned())
}

/// Returns the configuration of a client that accepts one certificate, or every one if it is `None`.
fn config(accepted: Option<CertificateDer<'static>>) -> Result<ClientConfig> {
    let provider = ring::default_provider();
    let verifier = ExactCertificate {
        accepted,
        algorithms: provider.signature_verification_algorithms,
    };
    Ok(ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// Accepts one certificate: that of the server whose files this command can read. Its names are those that
/// callers use, and not the address of this machine.
#[derive(Debug)]
struct ExactCertificate {
    /// `None` if every certificate is accepted.
    accepted: Option<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ExactCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        match &self.accepted {
            Some(accepted) if accepted != end_entity => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
