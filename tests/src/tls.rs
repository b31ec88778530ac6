//! Certificates of a private authority, and a TLS client.

use crate::http::{Response, connect, head, read};
use crate::{canaries, description};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The certificate of the authority, in PEM.
    pub certificate: String,
}

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Default for Authority {
    fn default() -> Self {
        let key = KeyPair::generate().expect("key should be generated");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "authority of a test");
        let certificate = params
            .self_signed(&key)
            .expect("certificate should be signed");
        Self {
            certificate: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }
}

impl Authority {
    /// Issues a certificate for a name or an address, or for a URI if the name has a colon.
    pub fn issue(&self, name: &str) -> Identity {
        self.issue_for(&[name])
    }

    /// Issues a certificate for several names, as [`Self::issue`] does for one.
    pub fn issue_for(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate().expect("key should be generated");
        let mut params = CertificateParams::default();
        let alternative = |name: &&str| {
            if let Ok(address) = name.parse() {
                SanType::IpAddress(address)
            } else if name.contains(':') {
                SanType::URI((*name).try_into().expect("name should be ASCII"))
            } else {
                SanType::DnsName((*name).try_into().expect("name should be ASCII"))
            }
        };
        params.subject_alt_names = names.iter().map(alternative).collect();
        // Strict clients require it.
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer);
        let key = key.serialize_pem();
        canaries::record_secret(&key);
        Identity {
            certificate: certificate.expect("certificate should be signed").pem(),
            key,
        }
    }
}

impl Identity {
    /// Returns the certificate in DER.
    pub fn der(&self) -> Vec<u8> {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        certificate.expect("certificate should be PEM").to_vec()
    }
}

/// Starts TLS on a connection, with a client certificate if one is given. The server must have a
/// certificate of the authority for its address. The handshake happens with the first write.
pub fn start_tls(
    stream: TcpStream,
    authority: &Authority,
    identity: Option<&Identity>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.certificate.as_bytes());
    roots
        .add(root.expect("certificate should be PEM"))
        .expect("certificate should be valid");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions should be supported")
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes());
            builder
                .with_client_auth_cert(
                    vec![certificate.expect("certificate should be PEM")],
                    key.expect("key should be PEM"),
                )
                .expect("certificate and key should belong together")
        }
    };
    let peer = stream.peer_addr().expect("stream should be connected");
    let connection = ClientConnection::new(Arc::new(config), ServerName::from(peer.ip()));
    StreamOwned::new(connection.expect("configuration should be valid"), stream)
}

/// Sends one request over TLS, and checks the response against `openapi.yaml`.
///
/// # Errors
/// The error of the handshake or of the connection.
pub fn request(
    address: SocketAddr,
    authority: &Authority,
    identity: Option<&Identity>,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> std::io::Result<Response> {
    canaries::request(target, headers, b"");
    let mut stream = start_tls(connect(address), authority, identity);
    stream.write_all(&head(method, target, headers, 0))?;
    stream.flush()?;
    let response = read(&mut stream, method == "HEAD")?;
    description::check(method, target, &response);
    Ok(response)
}

/// Returns what a server sends on a connection until it closes the connection.
pub fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset ends the connection too.
    let _reset = stream.read_to_end(&mut bytes);
    bytes
}
