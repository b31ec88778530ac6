//! The HTTP client of the command line: one GET and its response, without an asynchronous runtime.

use super::transport::{self, Security};
use crate::access::Scope;
use crate::config::secrets::{self, Secret, SecretError};
use crate::config::units::duration_above_zero;
use bulkhead_http::{Address, Setting, Wiped, setting};
use clap::Args;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Maximum size of a response, in bytes.
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// The variable with the access key for a server that needs one.
pub(super) const ACCESS_KEY: &str = "BULKHEAD_ACCESS_KEY";

const LISTEN: Setting = setting!(ServerSettings, listen);
const OBSERVE_LISTEN: Setting = setting!(ServerSettings, observe_listen);
const TLS_CERT: Setting = setting!(ServerSettings, tls_cert);

/// The address of a server, and the time for its response.
#[derive(Debug, Clone, Args)]
pub(super) struct ServerSettings {
    /// Address that the server listens on, as in the server's settings. Of several, the first is used.
    #[arg(
        long,
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESSES",
        value_delimiter = ','
    )]
    listen: Vec<Address>,
    /// Address of the server's health and metrics, if they have addresses of their own.
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    observe_listen: Vec<Address>,
    /// File with the server's certificate, if the server uses TLS. A request with an access key accepts
    /// exactly this certificate. The health check accepts every certificate.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Time to connect and to receive the response.
    #[arg(
        long,
        env = "BULKHEAD_HEALTHCHECK_TIMEOUT",
        default_value = "2s",
        value_parser = duration_above_zero
    )]
    pub(super) timeout: Duration,
}

impl ServerSettings {
    /// Returns the address to connect to.
    pub(super) fn address(&self) -> &Address {
        let mut addresses = self.observe_listen.iter().chain(&self.listen);
        addresses.next().expect("--listen should have a value")
    }
}

/// The response is missing or not usable. The text names the address.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    #[error("{0} does not respond within {1:?}. Check the server, or raise --timeout")]
    TimedOut(Address, Duration),
    #[error("{0}: {1}. Is a server running there? Set another address with {LISTEN}")]
    Failed(Address, #[source] std::io::Error),
    #[error("{TLS_CERT}, {}, {fault}", file.display())]
    CertificateFile { file: PathBuf, fault: String },
    #[error(
        "{0}: the server's certificate is not the first one in the file of {TLS_CERT}. Name the server's certificate \
         file"
    )]
    OtherCertificate(Address),
    #[error("{0}: TLS fails: {1}. Check whether the server uses TLS, or omit {TLS_CERT}")]
    Tls(Address, rustls::Error),
    #[error("{0} responds with {1:?}: it may expect TLS. Set {TLS_CERT}")]
    ExpectsTls(Address, String),
    #[error(
        "{0} responds with {1:?}: its health may have an address of its own. Set {OBSERVE_LISTEN}, or another address \
         with {LISTEN}"
    )]
    NotServed(Address, String),
    #[error(
        "{0} responds with {1:?}: it is shutting down, or is not Bulkhead. Try again, or set another address \
         with {LISTEN}"
    )]
    Status(Address, String),
    #[error(
        "{0} rejects the access key, or needs one. Set {ACCESS_KEY} to a key with the scope {1}, or {ACCESS_KEY}_FILE \
         to a file with the key"
    )]
    Rejected(Address, &'static str),
    #[error(transparent)]
    AccessKey(#[from] SecretError),
    #[error(
        "the access key contains a space, a control character or a character outside ASCII. Check {ACCESS_KEY}"
    )]
    MalformedKey,
    #[error("the response of {0} is not that of Bulkhead. Set another address with {LISTEN}")]
    NotBulkhead(Address),
}

/// The part of a response to read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Status,
    Body,
}

/// Returns the access key in the variable `BULKHEAD_ACCESS_KEY` or in the file that
/// `BULKHEAD_ACCESS_KEY_FILE` names, or `None` if neither is set.
///
/// # Errors
/// [`SecretError`] if both are set, or if the key is empty or cannot be read.
pub(super) fn access_key_of_variables() -> Result<Option<Secret>, SecretError> {
    let file = std::env::var_os([ACCESS_KEY, "_FILE"].concat());
    secrets::named(ACCESS_KEY, file.map(PathBuf::from).as_deref())
}

/// The scope of the access key that a response needs.
#[derive(Clone, Copy)]
pub(super) enum Needs {
    /// The route is open to every caller.
    Nothing,
    Scope(Scope),
}

/// Sends `GET path` and returns the body of the response, as far as `part` includes it. Takes at most the
/// time-out of the settings.
///
/// # Errors
/// [`ClientError`] if the server does not respond in time, or the status is not 200.
pub(super) fn get(
    server: &ServerSettings,
    path: &str,
    needs: Needs,
    part: Part,
) -> Result<Vec<u8>, ClientError> {
    let (address, time) = (server.address().clone(), server.timeout);
    let key = match needs {
        Needs::Nothing => None,
        Needs::Scope(_) => access_key_of_variables()?,
    };
    let request = request(path, key.as_ref()).ok_or(ClientError::MalformedKey)?;
    let security = security(server.tls_cert.as_ref(), needs)?;
    let response = exchange(server, security, &request, part).map_err(|error| {
        let address = address.clone();
        let is_late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        match tls_error(&error) {
            Some(rustls::Error::InvalidCertificate(_)) => ClientError::OtherCertificate(address),
            Some(error) => ClientError::Tls(address, error.clone()),
            None if is_late => ClientError::TimedOut(address, time),
            None => ClientError::Failed(address, error),
        }
    })?;
    let line = response.split(|byte| *byte == b'\n').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let mut words = line.split_whitespace();
    match (words.next(), words.next()) {
        (Some("HTTP/1.1" | "HTTP/1.0"), Some("200")) => {
            let end = response.windows(4).position(|four| four == b"\r\n\r\n");
            let end = end.map_or(response.len(), |end| end + 4);
            Ok(response[end..].to_vec())
        }
        (_, Some("401" | "403")) if let Needs::Scope(scope) = needs => {
            Err(ClientError::Rejected(address, scope.name()))
        }
        (_, status) => {
            let line = line.trim_end().to_owned();
            Err(match status {
                Some("400") if server.tls_cert.is_none() => ClientError::ExpectsTls(address, line),
                Some("404") if server.observe_listen.is_empty() => {
                    ClientError::NotServed(address, line)
                }
                _ => ClientError::Status(address, line),
            })
        }
    }
}

/// Returns the error of TLS that caused an error of a connection.
fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Returns the protection of the connection.
///
/// # Errors
/// [`ClientError::CertificateFile`] if the file is needed and cannot be used.
fn security(tls_cert: Option<&PathBuf>, needs: Needs) -> Result<Security, ClientError> {
    Ok(match (tls_cert, needs) {
        (None, _) => Security::Plain,
        // The file may be faulty or newer than the active certificate. The server works nevertheless.
        (Some(_), Needs::Nothing) => Security::TlsWithAnyCertificate,
        (Some(file), Needs::Scope(_)) => {
            let certificate = transport::certificate(file);
            Security::TlsWith(certificate.map_err(|fault| ClientError::CertificateFile {
                file: file.clone(),
                fault,
            })?)
        }
    })
}

/// Returns the head of a request, or `None` if a header cannot hold the key.
fn request(path: &str, key: Option<&Secret>) -> Option<Wiped> {
    let mut head =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n").into_bytes();
    if let Some(key) = key {
        let key = key.expose();
        if !key.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        for part in [b"Authorization: Bearer ", key, b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    Some(Wiped::from(head))
}

fn exchange(
    server: &ServerSettings,
    security: Security,
    request: &[u8],
    part: Part,
) -> std::io::Result<Vec<u8>> {
    let deadline = Instant::now() + server.timeout;
    let mut stream = transport::connect(server.address(), security, server.timeout)?;
    stream.set_deadline(deadline)?;
    stream.write_all(request)?;
    stream.flush()?;
    let mut response = Vec::new();
    let mut piece = [0; 4096];
    loop {
        stream.set_deadline(deadline)?;
        let bytes = stream.read(&mut piece)?;
        response.extend_from_slice(&piece[..bytes]);
        if bytes == 0 || (part == Part::Status && response.contains(&b'\n')) {
            return Ok(response);
        }
        if response.len() > RESPONSE_BYTES_MAX {
            return Err(std::io::Error::other("the response is too large"));
        }
    }
}
