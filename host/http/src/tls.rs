//! TLS for callers: the certificate, which can be replaced while the server runs, and limits on handshakes.

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

/// The first byte of a TLS connection: the type of a handshake record (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// The contents of the files from which a server's TLS is set up.
pub struct TlsFiles<'a> {
    /// The certificate of the server and those that connect it to an authority, in PEM.
    pub certificates: &'a [u8],
    /// The private key of the certificate, in PEM.
    pub key: &'a [u8],
    /// The authorities of client certificates, in PEM. `None` if the server does not request client certificates.
    pub client_authorities: Option<&'a [u8]>,
}

/// The files do not fit TLS. The text continues a sentence whose subject is the server's TLS, and quotes
/// nothing of the files.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file of certificates does not contain a certificate.
    #[error(
        "the file of certificates has no certificate in PEM. Give the server's certificate, and then those of its authorities"
    )]
    NoCertificate,
    /// A certificate is malformed.
    #[error("the file of certificates has a malformed certificate. Copy it again")]
    Certificate,
    /// The file of the key has no usable key.
    #[error(
        "the file of the private key has no private key in PEM: use PKCS #8, PKCS #1 or SEC 1, unencrypted"
    )]
    Key,
    /// The key and the certificate do not belong together.
    #[error("the private key does not belong to the certificate. Give the key of this certificate")]
    OtherKey,
    /// The certificate or the key cannot be used, for example because its algorithm is not supported.
    #[error("the certificate or its private key cannot be used: {0}. Give another pair")]
    Pair(#[source] rustls::Error),
    /// The file of authorities does not contain a certificate, or contains a malformed one.
    #[error(
        "the file of client authorities has no certificate in PEM, or a malformed one. Give the certificates of the \
         authorities that sign those of clients"
    )]
    Authorities,
}

/// A configuration that was made from files.
#[derive(Clone)]
pub struct TlsConfig(Arc<ServerConfig>);

impl TlsConfig {
    /// Returns the configuration for these files: TLS 1.2 and 1.3, and HTTP/1.1 as the protocol above.
    ///
    /// # Errors
    /// [`TlsError`] if a file is malformed, or if the files do not belong together.
    pub fn new(files: &TlsFiles<'_>) -> Result<Self, TlsError> {
        let chain: Result<Vec<_>, PemError> =
            CertificateDer::pem_slice_iter(files.certificates).collect();
        let chain = chain.map_err(|_| TlsError::Certificate)?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(files.key).map_err(|_| TlsError::Key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?;
        let builder = match files.client_authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(authorities) {
                    let certificate = certificate.map_err(|_| TlsError::Authorities)?;
                    roots.add(certificate).map_err(|_| TlsError::Authorities)?;
                }
                // A caller without a certificate may have an access key.
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build();
                builder.with_client_cert_verifier(verifier.map_err(|_| TlsError::Authorities)?)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => TlsError::OtherKey,
                error => TlsError::Pair(error),
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// TLS of a running server.
pub struct Tls {
    config: Arc<ArcSwap<ServerConfig>>,
    handshakes_max: u32,
    handshakes: Semaphore,
    handshake_timeout: Duration,
}

impl Tls {
    /// Returns TLS with at most `handshakes_max` handshakes at the same time. Each of them, with the wait for
    /// its turn, takes at most `handshake_timeout`.
    pub fn new(config: TlsConfig, handshakes_max: u32, handshake_timeout: Duration) -> Self {
        Self {
            config: Arc::new(ArcSwap::new(config.0)),
            handshakes_max,
            handshakes: Semaphore::new(handshakes_max as usize),
            handshake_timeout,
        }
    }

    /// Returns TLS with the same configuration, also after it is replaced, and with handshakes of its own. Clients of one
    /// address then cannot delay those of another one.
    #[must_use]
    pub fn with_own_handshakes(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            handshakes_max: self.handshakes_max,
            handshakes: Semaphore::new(self.handshakes_max as usize),
            handshake_timeout: self.handshake_timeout,
        }
    }

    /// Uses another configuration for all connections from now on. Open connections keep theirs. Sessions of
    /// the old configuration cannot be resumed.
    pub fn replace(&self, config: TlsConfig) {
        self.config.store(config.0);
    }

    /// Performs the handshake of a connection.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Handshake {
        timeout(self.handshake_timeout, self.handshake(stream))
            .await
            .unwrap_or(Handshake::Failed(HandshakeFailure::Timeout))
    }

    async fn handshake(&self, stream: TcpStream) -> Handshake {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first[0] == HANDSHAKE => {}
            Ok(1) if first[0].is_ascii_uppercase() => return Handshake::PlainHttp(stream),
            Ok(0) | Err(_) => return Handshake::Failed(HandshakeFailure::Closed),
            Ok(_) => return Handshake::Failed(HandshakeFailure::NotTls),
        }
        let Ok(_turn) = self.handshakes.acquire().await else {
            return Handshake::Failed(HandshakeFailure::Closed);
        };
        let acceptor = TlsAcceptor::from(self.config.load_full());
        match acceptor.accept(stream).await {
            Ok(stream) => {
                let (_, connection) = stream.get_ref();
                let certificates = connection.peer_certificates();
                let certificate = certificates
                    .and_then(<[_]>::first)
                    .map(ClientCertificate::of);
                Handshake::Done(Box::new(stream), certificate)
            }
            Err(error) => {
                tracing::debug!(%error, "TLS handshake failed");
                Handshake::Failed(HandshakeFailure::Rejected)
            }
        }
    }
}

/// The end of a handshake.
pub(crate) enum Handshake {
    Done(Box<TlsStream<TcpStream>>, Option<ClientCertificate>),
    /// The client sent the beginning of an HTTP request instead.
    PlainHttp(TcpStream),
    Failed(HandshakeFailure),
}

/// The reason why a connection ended before it had TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The handshake, or the wait for its turn, took too long.
    Timeout,
    /// The client closed the connection without sending anything.
    Closed,
    /// The client sent neither TLS nor HTTP.
    NotTls,
    /// The client sent a plain HTTP request, which was rejected with a response.
    PlainHttp,
    /// One of the two sides rejected the other's parameters or certificate, or the connection ended during the handshake.
    Rejected,
}

/// A client certificate that one of the configured authorities has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The SHA-256 of the certificate in DER.
    pub sha256: [u8; 32],
    /// The URIs of its subject alternative name.
    pub uris: Vec<String>,
}

impl ClientCertificate {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        let parsed = EndEntityCert::try_from(certificate);
        let uris = parsed.iter().flat_map(|it| it.valid_uri_names());
        Self {
            sha256: Sha256::digest(certificate).into(),
            uris: uris.map(str::to_owned).collect(),
        }
    }
}
